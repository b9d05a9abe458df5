package kseg.core;

import java.io.File;

/**
 * Runs the current model, on the CPU or the GPU, on a stream of frames. If anything goes wrong with
 * the GPU, it falls back to the CPU and reports that. For one thread, which calls the listener.
 */
public final class Session {
    private static final int LATENCY_FRAMES = 100;
    // Single frames may fail; after these the device is to blame.
    private static final int MAX_FAILURES_IN_A_ROW = 25;

    /** The runtime: LiteRT in the app. */
    public interface Runtime {
        /** Fails if the accelerator cannot run the complete model. Errors start with `name`. */
        Graph compile(Model model, boolean gpu, String name) throws InputException;
    }

    /** Shows what happens. */
    public interface Listener {
        /** A model was loaded. `note`: why it runs on the CPU instead of the GPU, or "". */
        void onModel(String name, Contract contract, boolean onGpu, String note);

        /** Colours of a frame (ARGB), valid until the call returns. */
        void onFrame(int[] argb, Size size);

        /**
         * After each frame: median latency; the GPU's agreement with the CPU when they were last
         * compared, NaN on the CPU, and the seconds since then.
         */
        void onLatency(double milliseconds, double agreement, double ageSeconds);

        /** A frame has no class map. `count`: how many had none since the model was loaded. */
        void onSkipped(int count, String problem);

        /** One line. No model runs, or the previous one continues. */
        void onError(String message);

        /**
         * True before the GPU is used, false after its first frame or when it is given up; may be
         * called again with the same value. If it was still true when the app ended, a driver
         * crashed the app.
         */
        void onTryingGpu(boolean trying);
    }

    private final Runtime runtime;
    private final Listener listener;
    private final CheckedSegmenter.Checks checks;
    private final Image classMap = new Image();
    private int[] argb = new int[0];
    private String name;
    private Model model;
    private CheckedSegmenter segmenter; // Null until a model is loaded.
    private Palette palette;
    private Latency latency;
    private int failed, failedInARow;

    public Session(Runtime runtime, Listener listener, CheckedSegmenter.Checks checks) {
        this.runtime = runtime;
        this.listener = listener;
        this.checks = checks;
    }

    /** Whether a model is loaded, so that frames can be segmented. */
    public boolean ready() {
        return segmenter != null;
    }

    /** Loads a model. If that fails, the previous one continues. */
    public void load(File file, String newName, boolean wantGpu) {
        try {
            use(Model.open(file, newName), newName, wantGpu, "");
        } catch (InputException error) {
            listener.onError(error.getMessage());
        } catch (OutOfMemoryError error) {
            listener.onTryingGpu(false);
            listener.onError(newName + ": too large for this device's memory");
        }
    }

    private void use(Model newModel, String newName, boolean wantGpu, String note)
            throws InputException {
        Segmenter cpu = new Segmenter(newModel, runtime.compile(newModel, false, newName));
        Segmenter gpu = null;
        if (wantGpu) {
            listener.onTryingGpu(true);
            try {
                gpu = new Segmenter(newModel, runtime.compile(newModel, true, newName));
            } catch (InputException error) {
                note = error.getMessage() + "; running on the CPU";
            }
        }
        if (segmenter != null) segmenter.close();
        segmenter = new CheckedSegmenter(gpu, cpu, newName, checks);
        listener.onTryingGpu(gpu != null);
        model = newModel;
        name = newName;
        palette = new Palette(model.contract);
        latency = new Latency(LATENCY_FRAMES);
        failed = failedInARow = 0;
        listener.onModel(name, model.contract, gpu != null, note);
    }

    /** RGB frame of any size; `start`: when processing began, by System.nanoTime(). */
    public void segment(Image frame, long start) {
        if (segmenter == null) return;
        boolean wasOnGpu = segmenter.onGpu();
        String failure = null;
        try {
            segmenter.run(frame, classMap);
        } catch (InputException error) {
            failure = error.getMessage();
        }
        listener.onTryingGpu(false); // It did not crash.
        if (wasOnGpu && !segmenter.onGpu()) {
            latency = new Latency(LATENCY_FRAMES);
            listener.onModel(name, model.contract, false, segmenter.problem());
        }
        if (failure != null) {
            skip(failure);
            return;
        }
        failedInARow = 0;
        if (!segmenter.ranOnBoth()) {
            latency.add((System.nanoTime() - start) / 1e6);
            listener.onLatency(
                    latency.median(), segmenter.onGpu() ? segmenter.agreement() : Double.NaN,
                    segmenter.agreementAge());
        }
        int pixels = classMap.data().length;
        if (argb.length != pixels) argb = new int[pixels];
        palette.paint(classMap, argb);
        listener.onFrame(argb, classMap.size());
    }

    /** Counts a frame without a class map. Stops after many in a row. */
    private void skip(String problem) {
        failed++;
        if (++failedInARow < MAX_FAILURES_IN_A_ROW) {
            listener.onSkipped(failed, problem);
            return;
        }
        close();
        listener.onError(
                MAX_FAILURES_IN_A_ROW + " frames in a row cannot be segmented (" + problem + ")");
    }

    /** Closes the model. */
    public void close() {
        if (segmenter == null) return;
        segmenter.close();
        segmenter = null;
        listener.onTryingGpu(false);
    }
}
