package kseg.core;

import java.io.File;
import java.util.Locale;

/**
 * Runs the current model, on the CPU or the GPU, on a stream of frames. If anything goes wrong with
 * the GPU, it falls back to the CPU and reports that. For one thread, which calls the listener.
 */
public final class Session {
    private static final int LATENCY_FRAMES = 100;

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

        /** After each frame: median latency; agreement with the CPU, NaN on the CPU. */
        void onLatency(double milliseconds, double agreement);

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
    private final Image classMap = new Image();
    private int[] argb = new int[0];
    private String name;
    private Model model;
    private CheckedSegmenter segmenter; // Null until a model is loaded.
    private Palette palette;
    private Latency latency;
    private boolean onGpu, verified;

    public Session(Runtime runtime, Listener listener) {
        this.runtime = runtime;
        this.listener = listener;
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
        segmenter = gpu == null ? new CheckedSegmenter(cpu, null) : new CheckedSegmenter(gpu, cpu);
        onGpu = gpu != null;
        verified = !onGpu;
        listener.onTryingGpu(onGpu);
        model = newModel;
        name = newName;
        palette = new Palette(model.contract);
        latency = new Latency(LATENCY_FRAMES);
        listener.onModel(name, model.contract, onGpu, note);
    }

    /** RGB frame of any size; `start`: when processing began, by System.nanoTime(). */
    public void segment(Image frame, long start) {
        if (segmenter == null) return;
        try {
            segmenter.run(frame, classMap);
        } catch (InputException error) {
            recover(error.getMessage());
            return;
        }
        if (verified) {
            latency.add((System.nanoTime() - start) / 1e6);
            listener.onLatency(latency.median(), onGpu ? segmenter.agreement() : Double.NaN);
        } else {
            checkAgreement(); // This frame ran on both devices, so its time does not count.
        }
        int pixels = classMap.data().length;
        if (argb.length != pixels) argb = new int[pixels];
        palette.paint(classMap, argb);
        listener.onFrame(argb, classMap.size());
    }

    private void checkAgreement() {
        verified = true;
        listener.onTryingGpu(false);
        if (!segmenter.rejected()) return;
        onGpu = false;
        String note = String.format(
                Locale.ROOT,
                "%s: the GPU agrees with the CPU on only %.1f %% of the first frame's pixels (limit"
                        + " %.1f %%); running on the CPU",
                name, 100 * segmenter.agreement(), 100 * CheckedSegmenter.MIN_AGREEMENT);
        listener.onModel(name, model.contract, false, note);
    }

    /** After a failed frame: falls back from the GPU to the CPU, or stops if the CPU failed. */
    private void recover(String message) {
        if (onGpu) {
            try {
                use(model, name, false, message + "; running on the CPU");
                return;
            } catch (InputException error) {
                message = error.getMessage();
            }
        }
        close();
        listener.onError(message);
    }

    /** Closes the model. */
    public void close() {
        if (segmenter == null) return;
        segmenter.close();
        segmenter = null;
        listener.onTryingGpu(false);
    }
}
