import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What is done with one record: read it, hold it to the rules, price its interval, write it. One instance a thread. */
final class Billing {
  static final long INTERVAL_S = 1800;
  private static final int LIMIT_OF_CACHES = 1 << 16;
  private static final DateTimeFormatter MILLIS =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

  /** A record as published; null is what was left out. */
  static final class MeterRecord {
    public String location_id;
    public String device_id;
    public String energy_flow_direction;
    public String tariff_direction;
    public String units;
    public Double confidence;
    public Double value;
    public String start_time;
    public String end_time;
  }

  /** A record that keeps the rules. */
  record Reading(
      String locationId, String deviceId, String flow, String direction, String intervalId, long intervalS, long startS,
      long endS, long energyUwh, double confidence) {}

  /** What a record breaks. Without a stack trace: it is an answer, not a fault. */
  static final class Refused extends Exception {
    final String code;

    Refused(String code, String message) {
      super(message, null, false, false);
      this.code = code;
    }
  }

  private record When(Set<String> days, LocalTime start, LocalTime end) {
    /** Whether this matches; one that wraps past midnight belongs to the day it started on. */
    boolean matches(ZonedDateTime local) {
      LocalTime time = local.toLocalTime();
      boolean endless = end.equals(LocalTime.MIN);
      boolean wraps = !endless && !end.isAfter(start);
      boolean inside = wraps
          ? !time.isBefore(start) || time.isBefore(end)
          : !time.isBefore(start) && (endless || time.isBefore(end));
      ZonedDateTime begun = wraps && time.isBefore(end) ? local.minusDays(1) : local;
      return inside && (days.isEmpty() || days.contains(begun.getDayOfWeek().name().substring(0, 3)));
    }
  }

  private record Band(String name, String rate, List<When> whens) {}

  private record Rate(String band, String text, BigDecimal net, BigDecimal gross) {}

  private final ObjectReader reader;
  private final JsonFactory factory = new JsonFactory();
  private final Map<String, Double> limitsW = new HashMap<>();
  private final List<Band> bands = new ArrayList<>();
  private final ZoneId zone;
  private final BigDecimal withTax;
  private final String currency;
  private final String tariffId;
  private final int tariffVersion;
  private final Map<String, Long> instants = new HashMap<>();
  private final Map<Long, String> texts = new HashMap<>();
  private final Map<Long, Rate> rates = new HashMap<>();

  Billing(File documents) throws IOException {
    ObjectMapper mapper = new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    reader = mapper.readerFor(MeterRecord.class);
    JsonNode given = mapper.readTree(documents);
    for (JsonNode one : given.get("locations")) {
      limitsW.put(one.get("location_id").asText(), Double.parseDouble(one.get("max_power_kw").asText()) * 1000);
    }
    JsonNode tariff = given.get("tariff");
    zone = ZoneId.of(tariff.get("timezone").asText());
    currency = tariff.get("currency").asText();
    tariffId = tariff.get("tariff_id").asText();
    tariffVersion = tariff.get("version").asInt();
    BigDecimal tax = BigDecimal.ONE;
    for (JsonNode one : tariff.get("taxes")) {
      tax = tax.add(new BigDecimal(one.get("rate").asText()));
    }
    withTax = tax;
    for (JsonNode band : tariff.get("charges").get(0).get("bands")) {
      List<When> whens = new ArrayList<>();
      for (JsonNode when : band.get("when")) {
        Set<String> days = new HashSet<>();
        when.path("days").forEach(day -> days.add(day.asText()));
        whens.add(new When(days, time(when.path("start").asText("00:00")), time(when.path("end").asText("24:00"))));
      }
      bands.add(new Band(band.get("name").asText(), band.get("tiers").get(0).get("rate").asText(), whens));
    }
  }

  private static LocalTime time(String text) {
    return text.equals("24:00") ? LocalTime.MIN : LocalTime.parse(text);
  }

  /** Reads a record and holds it to the rules; throws the first that it breaks. */
  Reading read(byte[] raw) throws Refused {
    MeterRecord r;
    try {
      r = reader.readValue(raw);
    } catch (JsonProcessingException error) {
      throw new Refused("malformed_json", "the record is not JSON: " + error.getOriginalMessage());
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    if (r == null || r.location_id == null || r.units == null || r.value == null || r.start_time == null
        || r.end_time == null) {
      throw new Refused("missing_field", "a required field is missing");
    }
    String flow = r.energy_flow_direction == null ? "INBOUND" : r.energy_flow_direction;
    String direction =
        r.tariff_direction != null ? r.tariff_direction : flow.equals("INBOUND") ? "IMPORT" : "EXPORT";
    double confidence = r.confidence == null ? 1 : r.confidence;
    if (!(flow.equals("INBOUND") || flow.equals("OUTBOUND"))
        || !(direction.equals("IMPORT") || direction.equals("EXPORT") || direction.equals("LOCAL"))
        || !(confidence > 0 && confidence <= 1)) {
      throw new Refused("invalid_value", flow + " " + direction + " " + confidence + " is not expected");
    }
    double scale = switch (r.units) {
      case "KWH" -> 1e9;
      case "WH" -> 1e6;
      case "KW" -> 1e9 / 3600;
      case "W" -> 1e6 / 3600;
      default -> throw new Refused("invalid_value", "units: " + r.units + " is not expected");
    };
    long startS = instant(r.start_time);
    long endS = instant(r.end_time);
    Double limitW = limitsW.get(r.location_id);
    if (limitW == null) {
      throw new Refused("unknown_location", r.location_id + " is not known");
    }
    long durationS = endS - startS;
    if (durationS < 0) {
      throw new Refused("end_before_start", "end_time must not be before start_time");
    }
    if (r.value < 0) {
      throw new Refused("negative_value", "value: " + r.value + " is negative");
    }
    if (durationS == 0) {
      throw new Refused("zero_duration", "the period has no duration");
    }
    long intervalS = startS - Math.floorMod(startS, INTERVAL_S);
    if (endS > intervalS + INTERVAL_S) {
      throw new Refused("period_too_long", "the period is not in one interval");
    }
    double exact = r.units.endsWith("H") ? r.value * scale : r.value * scale * durationS;
    long uwh = Math.round(exact);
    if (uwh * 3600.0 > limitW * 1.000_001 * durationS * 1e6) {
      throw new Refused("implausible_power", r.value + " " + r.units + " is more than " + limitW / 1000 + " kW");
    }
    String deviceId = r.device_id == null ? "" : r.device_id;
    String intervalId =
        r.location_id + "|" + deviceId + "|" + flow + "|" + direction + "|" + text(intervalS);
    return new Reading(r.location_id, deviceId, flow, direction, intervalId, intervalS, startS, endS, uwh, confidence);
  }

  private long instant(String text) throws Refused {
    Long known = instants.get(text);
    if (known == null) {
      try {
        known = OffsetDateTime.parse(text).toEpochSecond();
      } catch (DateTimeException error) {
        throw new Refused(isNaive(text) ? "naive_timestamp" : "invalid_value", text + " is no instant with an offset");
      }
      if (instants.size() >= LIMIT_OF_CACHES) {
        instants.clear();
      }
      instants.put(text, known);
    }
    return known;
  }

  private static boolean isNaive(String text) {
    try {
      LocalDateTime.parse(text);
      return true;
    } catch (DateTimeException error) {
      return false;
    }
  }

  private String text(long atS) {
    if (texts.size() >= LIMIT_OF_CACHES) {
      texts.clear();
    }
    return texts.computeIfAbsent(atS, at -> Instant.ofEpochSecond(at).toString());
  }

  private Rate rate(long intervalS) {
    if (rates.size() >= LIMIT_OF_CACHES) {
      rates.clear();
    }
    return rates.computeIfAbsent(intervalS, at -> {
      ZonedDateTime local = Instant.ofEpochSecond(at).atZone(zone);
      for (Band band : bands) {
        if (band.whens().isEmpty() || band.whens().stream().anyMatch(when -> when.matches(local))) {
          BigDecimal net = new BigDecimal(band.rate());
          return new Rate(band.name(), band.rate(), net, net.multiply(withTax));
        }
      }
      throw new IllegalStateException("no band at " + local);
    });
  }

  private static BigDecimal money(BigDecimal kwh, BigDecimal rate) {
    return kwh.multiply(rate).setScale(12, RoundingMode.HALF_EVEN);
  }

  private static String plain(BigDecimal amount) {
    return amount.signum() == 0 ? "0" : amount.stripTrailingZeros().toPlainString();
  }

  /** The priced record of a complete interval, in the public format. */
  byte[] price(Reading reading, IntervalState state, long submittedMs) {
    Rate rate = rate(reading.intervalS());
    BigDecimal kwh = BigDecimal.valueOf(state.energyUwh(), 9);
    BigDecimal cost = money(kwh, rate.gross());
    BigDecimal net = money(kwh, rate.net());
    String costText = plain(cost);
    String netText = plain(net);
    String start = text(reading.intervalS());
    String end = text(reading.intervalS() + INTERVAL_S);
    String energyWh = plain(BigDecimal.valueOf(state.energyUwh(), 6));
    ByteArrayOutputStream out = new ByteArrayOutputStream(1024);
    try (JsonGenerator json = factory.createGenerator(out)) {
      json.writeStartObject();
      json.writeStringField("interval_id", reading.intervalId());
      json.writeStringField("location_id", reading.locationId());
      json.writeStringField("device_id", reading.deviceId().isEmpty() ? null : reading.deviceId());
      json.writeStringField("energy_flow_direction", reading.flow());
      json.writeStringField("tariff_direction", reading.direction());
      json.writeStringField("start_time", start);
      json.writeStringField("end_time", end);
      json.writeFieldName("energy_wh");
      json.writeNumber(energyWh);
      json.writeNumberField("covered_seconds", INTERVAL_S);
      json.writeBooleanField("complete", true);
      json.writeFieldName("confidence");
      double confidence = state.confidence();
      json.writeNumber(confidence == 1 ? "1" : Double.toString(confidence));
      json.writeNumberField("revision", state.published());
      json.writeStringField("status", "priced");
      json.writeNullField("reason");
      json.writeStringField("currency", currency);
      json.writeStringField("cost", costText);
      json.writeStringField("cost_excluding_tax", netText);
      json.writeStringField("tax", plain(cost.subtract(net)));
      json.writeNullField("carbon_g");
      json.writeStringField("tariff_id", tariffId);
      json.writeNumberField("tariff_version", tariffVersion);
      json.writeArrayFieldStart("components");
      json.writeStartObject();
      json.writeStringField("charge_id", "energy");
      json.writeStringField("band", rate.band());
      json.writeNumberField("tier", 1);
      json.writeStringField("start_time", start);
      json.writeStringField("end_time", end);
      json.writeFieldName("energy_wh");
      json.writeNumber(energyWh);
      json.writeStringField("rate", rate.text());
      json.writeStringField("cost", costText);
      json.writeStringField("cost_excluding_tax", netText);
      json.writeEndObject();
      json.writeEndArray();
      json.writeStringField("submitted_at", MILLIS.format(Instant.ofEpochMilli(submittedMs)));
      json.writeNumberField("sequence", state.published());
      json.writeEndObject();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return out.toByteArray();
  }

  /** The rejected record, in the public format. */
  byte[] refusal(Refused refused, byte[] raw, String topic, int partition, long offset, long timestampMs) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(1024);
    try (JsonGenerator json = factory.createGenerator(out)) {
      json.writeStartObject();
      json.writeStringField("error", refused.code);
      json.writeStringField("message", refused.getMessage());
      json.writeNumberField("record_num", 0);
      json.writeStringField("topic", topic);
      json.writeNumberField("partition", partition);
      json.writeNumberField("offset", offset);
      json.writeStringField("timestamp", MILLIS.format(Instant.ofEpochMilli(timestampMs)));
      json.writeStringField("raw", new String(raw, StandardCharsets.UTF_8));
      json.writeStringField("raw_encoding", "text");
      json.writeEndObject();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return out.toByteArray();
  }
}
