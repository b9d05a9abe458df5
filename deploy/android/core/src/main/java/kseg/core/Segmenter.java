package kseg.core;

/** Runs a kseg model on frames of any size. For one thread at a time. */
public final class Segmenter implements AutoCloseable {
    static final int MAX_FRAME_SIDE = 32768;
    private static final long MAX_SCALED_PIXELS = 1L << 26;

    private final Model model;
    private final Graph graph;
    private final FrameFitter fitter = new FrameFitter();
    private final Image fitted = new Image();
    private final float[] floats; // When the input is float32.

    /** Takes ownership of the graph: it is closed with the segmenter. */
    public Segmenter(Model model, Graph graph) {
        this.model = model;
        this.graph = graph;
        Size size = model.contract.inputSize;
        boolean isFloat = model.contract.inputType == DataType.FLOAT32;
        floats = new float[isFloat ? 3 * size.height * size.width : 0];
    }

    public Contract contract() {
        return model.contract;
    }

    /** RGB frame of any size -> class ids of the frame's size. */
    public void run(Image frame, Image classMap) throws InputException {
        Image ids = new Image();
        runFitted(fit(frame), ids);
        unfit(ids, frame.size(), classMap);
    }

    /** RGB frame of any size -> RGB of the input's size, valid until the next call. */
    Image fit(Image frame) throws InputException {
        Contract contract = model.contract;
        Size size = frame.size();
        if (size.height < 1 || size.width < 1 || size.height > MAX_FRAME_SIDE
                || size.width > MAX_FRAME_SIDE) {
            throw new InputException(
                    "a frame of size " + size + ": expected 1 to " + MAX_FRAME_SIDE
                            + " pixels a side");
        }
        Size scaled = FrameFitter.placement(size, contract.inputSize, contract.fit).size;
        if ((long) scaled.height * scaled.width > MAX_SCALED_PIXELS) {
            throw new InputException(
                    "a frame of size " + size + " is too narrow to crop to " + contract.inputSize);
        }
        fitter.fitFrame(frame, contract.inputSize, contract.fit, contract.padValue, fitted);
        return fitted;
    }

    /** A fitted frame -> class ids of the input's size. */
    void runFitted(Image input, Image ids) throws InputException {
        if (model.contract.inputType == DataType.FLOAT32) {
            byte[] from = input.data();
            for (int i = 0; i < floats.length; i++) floats[i] = from[i] & 0xFF;
            graph.writeFloat32(floats);
        } else {
            graph.writeUint8(input.data());
        }
        graph.run();
        ids.resize(model.contract.inputSize, 1);
        if (model.contract.outputsLogits) {
            argmaxLogits(graph.readFloat32(), ids.data());
        } else if (model.contract.outputType == DataType.INT32) {
            copyInt32(graph.readInt32(), ids.data());
        } else {
            copyUint8(graph.readUint8(), ids.data());
        }
    }

    /** Class ids of the input's size -> ids of the frame's size. */
    void unfit(Image ids, Size frame, Image classMap) {
        fitter.unfitClassMap(ids, frame, model.contract.fit, classMap);
    }

    private void expectCount(int count) throws InputException {
        if (count != model.output.count()) {
            throw new InputException(
                    "the model returned " + count + " values, expected " + model.output.count());
        }
    }

    private void copyUint8(byte[] output, byte[] ids) throws InputException {
        expectCount(output.length);
        int classes = model.contract.classes.size(), invalid = 0;
        for (int i = 0; i < ids.length; i++) {
            if ((output[i] & 0xff) >= classes) invalid++;
            ids[i] = output[i];
        }
        expectClasses(invalid);
    }

    private void copyInt32(int[] output, byte[] ids) throws InputException {
        expectCount(output.length);
        int classes = model.contract.classes.size(), invalid = 0;
        for (int i = 0; i < ids.length; i++) {
            if (output[i] < 0 || output[i] >= classes) invalid++;
            ids[i] = (byte) output[i];
        }
        expectClasses(invalid);
    }

    private static void expectClasses(int invalid) throws InputException {
        if (invalid > 0) {
            throw new InputException("the model predicts no class at " + invalid
                    + " pixels (its logits are not finite, or the device computes wrongly)");
        }
    }

    /** The first of equal maxima wins; channels beyond the classes are ignored. */
    private void argmaxLogits(float[] logits, byte[] ids) throws InputException {
        expectCount(logits.length);
        int channels = model.output.shape[3], classes = model.contract.classes.size();
        int invalid = 0;
        for (int i = 0, at = 0; i < ids.length; i++, at += channels) {
            int best = 0;
            boolean hasNan = false;
            for (int c = 0; c < classes; c++) {
                if (logits[at + c] > logits[at + best]) best = c;
                hasNan |= Float.isNaN(logits[at + c]);
            }
            // NaN is larger than nothing: unchecked, it would become class 0, the lane we drive in.
            if (hasNan || Float.isInfinite(logits[at + best])) invalid++;
            ids[i] = (byte) best;
        }
        if (invalid > 0) {
            throw new InputException(
                    "the model's logits are not finite at " + invalid + " pixels");
        }
    }

    @Override
    public void close() {
        graph.close();
    }
}
