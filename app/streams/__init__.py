"""The stages of the pipeline, and the shell of Kafka and Faust around them."""
