import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** What is known of one interval: how often it was published, and its readings. */
final class IntervalState {
  private record Kept(long startS, long endS, long energyUwh, double confidence, long offset) {
    static final int BYTES = 5 * Long.BYTES;

    boolean saysTheSame(Kept other) {
      return startS == other.startS && endS == other.endS && energyUwh == other.energyUwh
          && confidence == other.confidence;
    }
  }

  private int published;
  private final List<Kept> kept = new ArrayList<>(2);

  int published() {
    return published;
  }

  long energyUwh() {
    long sum = 0;
    for (Kept one : kept) {
      sum += one.energyUwh;
    }
    return sum;
  }

  /** The mean of the readings' confidence, weighted by energy. */
  double confidence() {
    double first = kept.get(0).confidence;
    double weighted = 0;
    boolean same = true;
    for (Kept one : kept) {
      same &= one.confidence == first;
      weighted += one.confidence * one.energyUwh;
    }
    long sum = energyUwh();
    return same ? first : sum == 0 ? 1 : weighted / sum;
  }

  /** Whether a reading is a copy: it says what is known already, from another offset. */
  boolean isCopy(Billing.Reading reading, long offset) {
    Kept given = of(reading, offset);
    return kept.stream().anyMatch(old -> old.saysTheSame(given) && old.offset != offset);
  }

  /**
   * Puts a reading in, in the place of one of the same period; returns whether the interval has to be published.
   *
   * <p>The same offset again is a redelivery after a crash: the state may be ahead of what was published, so it is published
   * again.
   */
  boolean keep(Billing.Reading reading, long offset) throws Billing.Refused {
    Kept added = of(reading, offset);
    boolean again = kept.contains(added);
    kept.removeIf(old -> old.startS == added.startS && old.endS == added.endS);
    long covered = added.endS - added.startS;
    for (Kept old : kept) {
      if (old.startS < added.endS && added.startS < old.endS) {
        throw new Billing.Refused("overlaps_existing_period", "the period overlaps an earlier one");
      }
      covered += old.endS - old.startS;
    }
    kept.add(added);
    boolean complete = covered == Billing.INTERVAL_S;
    published += complete && !again ? 1 : 0;
    return complete;
  }

  private static Kept of(Billing.Reading reading, long offset) {
    return new Kept(reading.startS(), reading.endS(), reading.energyUwh(), reading.confidence(), offset);
  }

  /** A fixed width for each reading: state is read and written for every record. */
  static Serde<IntervalState> serde() {
    Serializer<IntervalState> serializer = (topic, state) -> {
      if (state == null) {
        return null;
      }
      ByteBuffer out = ByteBuffer.allocate(Integer.BYTES + state.kept.size() * Kept.BYTES);
      out.putInt(state.published);
      for (Kept one : state.kept) {
        out.putLong(one.startS).putLong(one.endS).putLong(one.energyUwh).putDouble(one.confidence).putLong(one.offset);
      }
      return out.array();
    };
    Deserializer<IntervalState> deserializer = (topic, bytes) -> {
      if (bytes == null) {
        return null;
      }
      ByteBuffer in = ByteBuffer.wrap(bytes);
      IntervalState state = new IntervalState();
      state.published = in.getInt();
      while (in.hasRemaining()) {
        state.kept.add(new Kept(in.getLong(), in.getLong(), in.getLong(), in.getDouble(), in.getLong()));
      }
      return state;
    };
    return Serdes.serdeFrom(serializer, deserializer);
  }
}
