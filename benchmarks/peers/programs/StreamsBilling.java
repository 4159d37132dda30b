import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The job on Kafka Streams: one processor with a RocksDB store of intervals, cached and logged, and two sinks.
 *
 * <p>The Processor API rather than a windowed aggregation: that would publish an interval with every update or when its
 * window closes, and the job is to publish it when it is complete, and once.
 */
public final class StreamsBilling {
  private static final String STORE = "intervals";

  private static final class Pricing implements Processor<byte[], byte[], byte[], byte[]> {
    private final File documents;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, IntervalState> states;
    private Billing billing;

    Pricing(File documents) {
      this.documents = documents;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
      context = given;
      states = given.getStateStore(STORE);
      try {
        billing = new Billing(documents);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      RecordMetadata at = context.recordMetadata().orElseThrow();
      try {
        Billing.Reading reading = billing.read(record.value());
        IntervalState state = states.get(reading.intervalId());
        if (state == null) {
          state = new IntervalState();
        } else if (state.isCopy(reading, at.offset())) {
          return;
        }
        boolean complete = state.keep(reading, at.offset());
        states.put(reading.intervalId(), state);
        if (complete) {
          byte[] priced = billing.price(reading, state, record.timestamp());
          byte[] key = reading.intervalId().getBytes(StandardCharsets.UTF_8);
          context.forward(new Record<>(key, priced, record.timestamp()), "priced");
        }
      } catch (Billing.Refused refused) {
        byte[] value =
            billing.refusal(refused, record.value(), at.topic(), at.partition(), at.offset(), record.timestamp());
        context.forward(record.withValue(value), "rejected");
      }
    }
  }

  private static Topology topology(JsonNode config) {
    File documents = new File(config.get("documents").asText());
    Topology topology = new Topology();
    topology.addSource("records", config.get("input").asText());
    topology.addProcessor("pricing", () -> new Pricing(documents), "records");
    topology.addStateStore(
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), IntervalState.serde())
            .withCachingEnabled()
            .withLoggingEnabled(Map.of()),
        "pricing");
    topology.addSink("priced", config.get("priced").asText(), "pricing");
    topology.addSink("rejected", config.get("rejected").asText(), "pricing");
    return topology;
  }

  private static Properties properties(JsonNode config) {
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, config.get("group").asText());
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, config.get("bootstrap_servers").asText());
    properties.put(StreamsConfig.STATE_DIR_CONFIG, config.get("state_dir").asText());
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, config.get("guarantee").asText());
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, config.get("commit_interval_ms").asLong());
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, config.get("cache_mb").asLong() << 20);
    properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
    properties.put(
        StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG),
        config.get("fetch_max_bytes").asInt());
    properties.put(
        StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), config.get("linger_ms").asLong());
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), config.get("batch_bytes").asInt());
    properties.put(
        StreamsConfig.producerPrefix(ProducerConfig.MAX_REQUEST_SIZE_CONFIG),
        4 * config.get("batch_bytes").asInt());
    return properties;
  }

  /** Reads, prices and writes until it is ended. */
  public static void main(String[] arguments) throws Exception {
    JsonNode config = new ObjectMapper().readTree(new File(arguments[0]));
    KafkaStreams streams = new KafkaStreams(topology(config), properties(config));
    CountDownLatch ended = new CountDownLatch(1);
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      ended.countDown();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
    ended.await();
    System.exit(1);
  }
}
