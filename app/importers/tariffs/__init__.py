"""Other systems' tariff formats, each turned into this project's tariff documents."""
