package kseg.core;

import java.util.Locale;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.function.LongSupplier;

/**
 * A segmenter on the GPU as long as its class maps agree with the CPU's, else on the CPU. GPU
 * drivers can be silently wrong, which no return code of LiteRT shows. Until a frame has been
 * compared, the CPU's class maps are returned; later ones are compared on another thread. For one
 * thread.
 */
public final class CheckedSegmenter implements AutoCloseable {
    private static final double RETRY_SECONDS = 1; // After a frame that was passed over.

    /** When and where frames are compared. */
    public static final class Checks {
        final double everySeconds;
        final Executor background;
        final LongSupplier nanoTime;

        /** everySeconds: 0: only at the start. */
        public Checks(double everySeconds, Executor background, LongSupplier nanoTime) {
            this.everySeconds = everySeconds;
            this.background = background;
            this.nanoTime = nanoTime;
        }

        /** Every 30 seconds, on a thread that waits for others. */
        public static Checks whileDriving() {
            return new Checks(30, task -> {
                Thread thread = new Thread(task, "gpu-check");
                thread.setPriority(Thread.MIN_PRIORITY);
                thread.start();
            }, System::nanoTime);
        }
    }

    private final String name;
    private final Checks checks;
    private final Segmenter cpu;
    private Segmenter gpu; // Null once the CPU is in use.
    private String problem = "";
    private boolean trusted, ranOnBoth;
    private double agreement = Double.NaN, waitSeconds;
    private int compared, passedOver;
    private long triedAt, comparedAt;
    private FutureTask<GpuCheck.Comparison> pending;
    private final Image ids = new Image(), expected = new Image();

    /** Takes ownership of both segmenters. gpu: may be null. name: the model's, for messages. */
    public CheckedSegmenter(Segmenter gpu, Segmenter cpu, String name, Checks checks) {
        this.gpu = gpu;
        this.cpu = cpu;
        this.name = name;
        this.checks = checks;
    }

    /**
     * RGB frame of any size -> class ids of the frame's size. Fails if the frame cannot be
     * segmented; the next one may.
     */
    public void run(Image frame, Image classMap) throws InputException {
        ranOnBoth = false;
        if (pending != null && pending.isDone()) finish();
        Segmenter segmenter = gpu != null ? gpu : cpu;
        Image fitted = segmenter.fit(frame);
        Image result = ids;
        if (gpu == null) {
            cpu.runFitted(fitted, ids);
        } else {
            result = runOnGpu(fitted, frame.size());
        }
        cpu.unfit(result, frame.size(), classMap);
    }

    /** Returns the class ids to trust. */
    private Image runOnGpu(Image fitted, Size frame) throws InputException {
        Contract contract = cpu.contract();
        GpuCheck.Region region = GpuCheck.Region.of(frame, contract.inputSize, contract.fit);
        try {
            gpu.runFitted(fitted, ids);
        } catch (InputException error) {
            finish();
            ranOnBoth = true;
            cpu.runFitted(fitted, expected); // If this fails, it shows nothing about the GPU.
            if (gpu != null) reject("on the GPU " + error.getMessage());
            return expected;
        }
        if (!trusted) {
            ranOnBoth = true;
            cpu.runFitted(fitted, expected);
            note(GpuCheck.compare(fitted, ids, expected, region));
            return trusted ? ids : expected;
        }
        if (checks.everySeconds > 0 && pending == null && secondsSince(triedAt) >= waitSeconds) {
            Image input = fitted.copy(), onGpu = ids.copy();
            pending = new FutureTask<>(() -> compare(input, onGpu, region));
            checks.background.execute(pending);
        }
        return ids;
    }

    private GpuCheck.Comparison compare(Image input, Image onGpu, GpuCheck.Region region) {
        if (!GpuCheck.hasContrast(input, region)) { // Saves the CPU's work.
            return GpuCheck.Comparison.PASSED_OVER;
        }
        Image onCpu = new Image();
        try {
            cpu.runFitted(input, onCpu);
        } catch (InputException error) {
            return GpuCheck.Comparison.PASSED_OVER;
        }
        return GpuCheck.compare(input, onGpu, onCpu, region);
    }

    /** Waits for a comparison that is still running. */
    void finish() {
        if (pending == null) return;
        FutureTask<GpuCheck.Comparison> task = pending;
        pending = null;
        boolean interrupted = false;
        while (true) {
            try {
                note(task.get());
                break;
            } catch (InterruptedException error) {
                interrupted = true; // The CPU's graph is in use: wait on.
            } catch (ExecutionException error) {
                throw new IllegalStateException(error.getCause());
            }
        }
        if (interrupted) Thread.currentThread().interrupt();
    }

    /** Counts a comparison. Rejects the GPU if it failed. */
    private void note(GpuCheck.Comparison comparison) {
        triedAt = checks.nanoTime.getAsLong();
        if (Double.isNaN(comparison.agreement)) {
            passedOver++;
            waitSeconds = RETRY_SECONDS;
            return;
        }
        double age = (triedAt - comparedAt) / 1e9;
        compared++;
        agreement = comparison.agreement;
        comparedAt = triedAt;
        waitSeconds = checks.everySeconds;
        if (agreement < GpuCheck.MIN_AGREEMENT) {
            String since = String.format(
                    Locale.ROOT, ", %.0f s after it agreed; frames since then may be wrong", age);
            reject(String.format(
                    Locale.ROOT,
                    "the GPU agrees with the CPU on only %.3f %% of a frame's pixels (limit %.1f%%)",
                    100 * agreement, 100 * GpuCheck.MIN_AGREEMENT) + (trusted ? since : ""));
        } else {
            trusted = true;
        }
    }

    private void reject(String reason) {
        problem = name + ": " + reason + "; running on the CPU";
        gpu.close();
        gpu = null;
    }

    private double secondsSince(long time) {
        return (checks.nanoTime.getAsLong() - time) / 1e9;
    }

    /** Whether the GPU is in use. */
    public boolean onGpu() {
        return gpu != null;
    }

    /** Why the GPU was given up, or "". */
    public String problem() {
        return problem;
    }

    /** Whether the last frame ran on the GPU and the CPU, so that its time means nothing. */
    public boolean ranOnBoth() {
        return ranOnBoth;
    }

    /** Share of equal pixels of the last frame that was compared; NaN before it. */
    public double agreement() {
        return agreement;
    }

    /** Seconds since then. */
    public double agreementAge() {
        return secondsSince(comparedAt);
    }

    /** How many frames were compared. */
    public int compared() {
        return compared;
    }

    /** How many frames were not: they had one class, or no contrast. */
    public int passedOver() {
        return passedOver;
    }

    @Override
    public void close() {
        finish();
        if (gpu != null) gpu.close();
        gpu = null;
        cpu.close();
    }
}
