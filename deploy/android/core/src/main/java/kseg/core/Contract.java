package kseg.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The contract: the JSON document inside a .tflite that describes the model (deploy/README.md). */
public final class Contract {
    public static final int VERSION = 1;
    static final int MAX_SIDE = 8192; // Of a model's input or output, in pixels.
    static final byte UNSEEN_ID = (byte) 255; // Id of pixels that `crop` cut away.

    /** One class: its id, name, colour, and whether it is drivable. */
    public static final class Label {
        public final int id; // 0 to 254
        public final String name;
        public final int red, green, blue;
        public final boolean drivable;

        Label(int id, String name, int[] color, boolean drivable) {
            this.id = id;
            this.name = name;
            this.red = color[0];
            this.green = color[1];
            this.blue = color[2];
            this.drivable = drivable;
        }

        /** Black classes are not drawn. */
        public boolean shown() {
            return (red | green | blue) != 0;
        }
    }

    public final String model, precision, profile, dataset; // Not interpreted.
    public final Size inputSize;
    public final DataType inputType; // UINT8 or FLOAT32, raw RGB 0..255 in either.
    public final Fit fit;
    public final int padValue;
    public final boolean outputsLogits; // Else a class map.
    public final DataType outputType; // Class map: UINT8, INT32; logits: FLOAT32.
    public final List<Label> classes; // 1 to 255, with the ids 0 to n - 1.

    private Contract(Reader reader, DataType input, DataType output, boolean logits) {
        model = reader.text("model");
        precision = reader.text("precision");
        profile = reader.text("profile");
        dataset = reader.text("dataset");
        inputSize = reader.inputSize();
        inputType = input;
        fit = reader.fit();
        padValue = reader.integerOf("pad_value", 0, 255);
        reader.expect(reader.text("channel_order").equals("RGB"), "channel_order");
        reader.valueRange();
        outputsLogits = logits;
        outputType = output;
        classes = reader.classes();
    }

    /** Parses and checks a contract's JSON text. Errors start with `where`. */
    static Contract parse(byte[] json, String where) throws InputException {
        Object document;
        try {
            document = Json.parse(json);
        } catch (InputException error) {
            throw invalid(where, error.getMessage());
        }
        Reader reader = new Reader(document);
        Long version = Reader.integer(reader.find("contract_version"), 1, Integer.MAX_VALUE);
        if (version == null) throw invalid(where, "contract_version");
        if (version > VERSION) {
            throw new InputException(
                    where + ": kseg contract version " + version
                            + " is newer than this runner supports (" + VERSION
                            + "); update the runner or " + TfliteFile.REEXPORT);
        }
        String kind = reader.text("output_kind");
        String input = reader.text("input_dtype"), output = reader.text("output_dtype");
        boolean logits = kind.equals("logits") && output.equals("float32");
        boolean classMap =
                kind.equals("class_map") && (output.equals("uint8") || output.equals("int32"));
        boolean stride = Reader.integer(reader.find("output_stride"), 1, 1) != null;
        boolean inputSupported = input.equals("uint8") || input.equals("float32");
        if (!(logits || classMap) || !inputSupported || !stride) {
            throw new InputException(
                    where + ": unsupported model, " + input + " to " + kind + " (" + output
                            + "); this runner supports uint8 or float32 to class_map (uint8,"
                            + " int32) or logits (float32) of stride 1; " + TfliteFile.REEXPORT);
        }
        DataType inputType = input.equals("uint8") ? DataType.UINT8 : DataType.FLOAT32;
        DataType outputType =
                logits ? DataType.FLOAT32
                        : output.equals("uint8") ? DataType.UINT8
                        : DataType.INT32;
        Contract contract = new Contract(reader, inputType, outputType, logits);
        if (reader.invalid != null) throw invalid(where, reader.invalid);
        return contract;
    }

    private static InputException invalid(String where, String detail) {
        return new InputException(
                where + ": invalid kseg contract (" + detail + "); " + TfliteFile.REEXPORT);
    }

    /** Reads the members of a document and remembers the first invalid one. */
    private static final class Reader {
        private final Object document;
        String invalid;

        Reader(Object document) {
            this.document = document;
        }

        static Object member(Object object, String key) {
            return object instanceof Map ? ((Map<?, ?>) object).get(key) : null;
        }

        static Long integer(Object value, long low, long high) {
            if (!(value instanceof Long)) return null;
            long number = (Long) value;
            return number < low || number > high ? null : (Long) value;
        }

        Object find(String key) {
            return member(document, key);
        }

        String text(String key) {
            Object value = find(key);
            return value instanceof String ? (String) value : "";
        }

        void expect(boolean valid, String key) {
            if (!valid && invalid == null) invalid = key;
        }

        int integerOf(String key, int low, int high) {
            Long value = integer(find(key), low, high);
            expect(value != null, key);
            return value == null ? low : value.intValue();
        }

        Fit fit() {
            for (Fit fit : Fit.values()) {
                if (fit.name().toLowerCase(Locale.ROOT).equals(find("fit"))) return fit;
            }
            expect(false, "fit");
            return Fit.LETTERBOX;
        }

        /** `count` integers from low to high, or null. */
        static int[] integers(Object value, int count, int low, int high) {
            if (!(value instanceof List) || ((List<?>) value).size() != count) return null;
            int[] out = new int[count];
            for (int i = 0; i < count; i++) {
                Long item = integer(((List<?>) value).get(i), low, high);
                if (item == null) return null;
                out[i] = item.intValue();
            }
            return out;
        }

        Size inputSize() {
            int[] sides = integers(find("input_size"), 2, 1, MAX_SIDE);
            expect(sides != null, "input_size");
            return sides == null ? new Size(1, 1) : new Size(sides[0], sides[1]);
        }

        void valueRange() {
            int[] range = integers(find("value_range"), 2, 0, 255);
            expect(range != null && range[0] == 0 && range[1] == 255, "value_range");
        }

        List<Label> classes() {
            Object list = member(find("labels"), "classes");
            List<Label> out = new ArrayList<>();
            if (list instanceof List && ((List<?>) list).size() <= 255) {
                for (Object item : (List<?>) list) out.add(label(item));
            }
            expect(!out.isEmpty(), "labels");
            boolean[] used = new boolean[256];
            for (Label label : out) {
                // Ids are 0 to n - 1: each once, and none above.
                expect(!used[label.id] && label.id < out.size(), "labels");
                used[label.id] = true;
            }
            return Collections.unmodifiableList(out);
        }

        private Label label(Object item) {
            Long id = integer(member(item, "id"), 0, 254);
            Object name = member(item, "name"), drivable = member(item, "drivable");
            int[] color = integers(member(item, "color"), 3, 0, 255);
            expect(id != null && drivable instanceof Boolean && color != null, "labels");
            return new Label(
                    id == null ? 0 : id.intValue(),
                    name instanceof String ? (String) name : "",
                    color == null ? new int[3] : color,
                    Boolean.TRUE.equals(drivable));
        }
    }
}
