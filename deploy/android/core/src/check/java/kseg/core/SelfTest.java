package kseg.core;

import java.io.File;

/**
 * Tests of the latency median and of the GPU fallback, which run inside the JVM: SelfTest MODEL.
 * Stops at the first failure.
 */
final class SelfTest {
    public static void main(String[] args) throws Exception {
        latencyIsTheMedianOfTheLatest();
        Model model = Model.open(new File(args[0]), "model");
        aGpuThatAgreesWithTheCpuIsUsed(model);
        aGpuThatDisagreesWithTheCpuIsRejected(model);
        aGpuThatTurnsWrongIsFoundAtTheNextCheck(model);
        aBlackFrameDoesNotCountAsACheck(model);
        oneClassShowsNothing(model);
        letterboxBarsDoNotCount();
        anOutputOfAnotherLengthIsAnError(model);
        aSessionRunsOnTheWantedDevice(model);
        aSessionFallsBackToTheCpuWhateverTheGpuDoes(model);
        aGpuThatIsGivenUpBeforeTheFirstFrameIsNoLongerTried(model);
        aSessionKeepsTheOldModelWhenTheNewFileIsBad(model);
        aSessionSkipsFramesWithoutAClassAndStopsAfterMany(model);
        System.out.println("all passed");
    }

    private static void expect(boolean holds, String claim) {
        if (!holds) throw new AssertionError(claim);
    }

    private static void latencyIsTheMedianOfTheLatest() {
        Latency latency = new Latency(3);
        expect(Double.isNaN(latency.median()), "no frame, no median");
        latency.add(5);
        latency.add(1);
        expect(latency.median() == 3, "two frames: between them");
        latency.add(9);
        expect(latency.median() == 5, "three frames: the middle one");
        latency.add(100);
        expect(latency.median() == 9, "the fourth replaces the first");
    }

    /** Predicts one class everywhere, except for the first `wrong` pixels. */
    private static class ConstantGraph implements Graph {
        final int id, wrong, count;
        int runs;
        boolean closed;

        ConstantGraph(Model model, int id, int wrong) {
            this.id = id;
            this.wrong = wrong;
            this.count = (int) model.output.count();
        }

        @Override
        public void writeUint8(byte[] input) {}

        @Override
        public void writeFloat32(float[] input) {
            throw new AssertionError("the golden model's input is uint8");
        }

        @Override
        public void run() throws InputException {
            runs++;
        }

        @Override
        public byte[] readUint8() {
            byte[] output = new byte[count];
            for (int i = 0; i < count; i++) output[i] = (byte) (i < wrong ? 2 : id);
            return output;
        }

        @Override
        public int[] readInt32() {
            throw new AssertionError("the golden model's output is uint8");
        }

        @Override
        public float[] readFloat32() {
            throw new AssertionError("the golden model's output is uint8");
        }

        @Override
        public void close() {
            expect(!closed, "closed once");
            closed = true;
        }
    }

    /** A frame of the model's size with contrast. */
    private static Image frame(Model model) {
        Image frame = new Image();
        frame.resize(model.contract.inputSize, 3);
        for (int i = 0; i < frame.data().length; i++) frame.data()[i] = (byte) (i % 251);
        return frame;
    }

    private static final int OTHER = 2000; // Pixels of another class, so that a frame counts.

    /** The clock of a test, and comparisons at once. */
    private static final class Clock {
        double seconds = 1000;

        CheckedSegmenter.Checks checks(double everySeconds) {
            return new CheckedSegmenter.Checks(
                    everySeconds, Runnable::run, () -> (long) (1e9 * seconds));
        }
    }

    private static CheckedSegmenter checked(
            Model model, Graph gpu, Graph cpu, CheckedSegmenter.Checks checks) {
        return new CheckedSegmenter(
                new Segmenter(model, gpu), new Segmenter(model, cpu), "road", checks);
    }

    private static void aGpuThatAgreesWithTheCpuIsUsed(Model model) throws InputException {
        int few = (int) (0.005 * model.output.count());
        ConstantGraph gpu = new ConstantGraph(model, 1, OTHER + few);
        ConstantGraph cpu = new ConstantGraph(model, 1, OTHER);
        Image classMap = new Image();
        CheckedSegmenter checked = checked(model, gpu, cpu, new Clock().checks(30));
        checked.run(frame(model), classMap);
        expect(checked.agreement() == 1 - few / (double) gpu.count, "the share that agrees");
        expect(checked.onGpu() && checked.ranOnBoth() && checked.compared() == 1, "compared");
        expect(classMap.data()[OTHER] == 2, "the GPU's class map");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 2 && cpu.runs == 1 && !checked.ranOnBoth(), "not every frame");
        checked.close();
        expect(gpu.closed && cpu.closed, "closed at the end");
    }

    private static void aGpuThatDisagreesWithTheCpuIsRejected(Model model) throws InputException {
        int many = (int) (0.006 * model.output.count());
        ConstantGraph gpu = new ConstantGraph(model, 1, many), cpu = new ConstantGraph(model, 1, 0);
        Image classMap = new Image();
        CheckedSegmenter checked = checked(model, gpu, cpu, new Clock().checks(30));
        checked.run(frame(model), classMap);
        expect(!checked.onGpu() && gpu.closed && !cpu.closed, "the GPU is closed");
        expect(checked.problem().startsWith("road: the GPU agrees with the CPU on only 99.403 % of"
                + " a frame's pixels (limit 99.5%); running on the CPU"), checked.problem());
        expect(classMap.data()[0] == 1, "the first frame is already the CPU's");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 1 && cpu.runs == 2, "the CPU continues");
        checked.close();
        expect(cpu.closed, "closed at the end");
    }

    private static void aGpuThatTurnsWrongIsFoundAtTheNextCheck(Model model)
            throws InputException {
        for (int every : new int[] {0, 10, 30}) {
            ConstantGraph gpu = new ConstantGraph(model, 1, OTHER) {
                @Override
                public byte[] readUint8() {
                    return runs > 3 ? new byte[count] : super.readUint8();
                }
            };
            ConstantGraph cpu = new ConstantGraph(model, 1, OTHER);
            Clock clock = new Clock();
            CheckedSegmenter checked = checked(model, gpu, cpu, clock.checks(every));
            Image classMap = new Image();
            double found = 0;
            for (int i = 0; i < 200; i++, clock.seconds += 0.25) {
                checked.run(frame(model), classMap);
                if (found == 0 && !checked.onGpu()) found = clock.seconds - 1000;
            }
            expect(found == (every == 0 ? 0 : every + 0.25), "found after " + found);
            expect(checked.compared() == (every == 0 ? 1 : 2), "compared " + checked.compared());
            String words = every + " s after it agreed; frames since then may be wrong";
            expect(every == 0 || checked.problem().contains(words), checked.problem());
            expect(classMap.data()[OTHER] == (every == 0 ? 0 : 1), "the CPU's class map");
            checked.close();
        }
    }

    private static void aBlackFrameDoesNotCountAsACheck(Model model) throws InputException {
        ConstantGraph gpu = new ConstantGraph(model, 0, 0);
        ConstantGraph cpu = new ConstantGraph(model, 1, OTHER);
        Clock clock = new Clock();
        CheckedSegmenter checked = checked(model, gpu, cpu, clock.checks(30));
        Image black = new Image(), classMap = new Image();
        black.resize(model.contract.inputSize, 3);
        checked.run(black, classMap);
        checked.run(black, classMap);
        expect(checked.onGpu() && checked.compared() == 0 && checked.passedOver() == 2, "passed");
        expect(classMap.data()[OTHER] == 1, "the GPU is not trusted yet");
        checked.run(frame(model), classMap);
        expect(!checked.onGpu() && checked.compared() == 1, "the first frame with contrast");
        checked.close();
    }

    private static void oneClassShowsNothing(Model model) throws InputException {
        ConstantGraph gpu = new ConstantGraph(model, 1, 0), cpu = new ConstantGraph(model, 1, 40);
        Image classMap = new Image();
        CheckedSegmenter checked = checked(model, gpu, cpu, new Clock().checks(30));
        checked.run(frame(model), classMap);
        expect(checked.onGpu() && checked.compared() == 0, "40 of 9216 pixels are too few");
        expect(classMap.data()[0] == 2, "the CPU's class map");
        checked.close();
    }

    private static void letterboxBarsDoNotCount() {
        Image input = new Image(), gpu = new Image(), cpu = new Image();
        Size size = new Size(10, 20);
        input.resize(size, 3);
        gpu.resize(size, 1);
        cpu.resize(size, 1);
        for (int i = 0; i < 600; i++) input.data()[i] = (byte) (i * 37);
        for (int i = 60; i < 100; i++) cpu.data()[i] = 1;
        System.arraycopy(cpu.data(), 0, gpu.data(), 0, 200);
        gpu.data()[60] = gpu.data()[61] = 2;
        GpuCheck.Region all = GpuCheck.Region.of(size, size, Fit.LETTERBOX);
        GpuCheck.Region wide = GpuCheck.Region.of(new Size(20, 100), size, Fit.LETTERBOX);
        expect(wide.top == 3 && wide.height == 4 && wide.left == 0 && wide.width == 20, "rows");
        GpuCheck.Region cropped = GpuCheck.Region.of(new Size(20, 100), size, Fit.CROP);
        expect(cropped.left == 0 && cropped.width == 20 && cropped.height == 10, "crop");
        expect(GpuCheck.compare(input, gpu, cpu, all).agreement == 198 / 200.0, "all");
        expect(GpuCheck.compare(input, gpu, cpu, wide).agreement == 78 / 80.0, "without bars");
    }

    private static void anOutputOfAnotherLengthIsAnError(Model model) {
        Graph graph = new ConstantGraph(model, 1, 0) {
            @Override
            public byte[] readUint8() {
                return new byte[5];
            }
        };
        String message = "";
        try {
            new Segmenter(model, graph).run(frame(model), new Image());
        } catch (InputException error) {
            message = error.getMessage();
        }
        expect(message.contains("5 values") && message.contains("9216"), message);
    }

    /** Provides the graphs set by a test, and records what the session reports. */
    private static final class FakeApp implements Session.Runtime, Session.Listener {
        final Session session = new Session(this, this, new Clock().checks(30));
        final StringBuilder events = new StringBuilder();
        Graph cpu, gpu; // Null: cannot be compiled.
        boolean isTrying;

        @Override
        public Graph compile(Model model, boolean onGpu, String name) throws InputException {
            if (onGpu) events.append("compiles, ");
            Graph graph = onGpu ? gpu : cpu;
            if (graph == null) throw new InputException(name + ": cannot be compiled");
            return graph;
        }

        @Override
        public void onModel(String name, Contract contract, boolean onGpu, String note) {
            events.append(name).append(onGpu ? " on GPU" : " on CPU");
            events.append(note.isEmpty() ? ", " : " [" + note + "], ");
        }

        @Override
        public void onFrame(int[] argb, Size size) {
            expect(argb.length == size.height * size.width, "a colour for each pixel");
            events.append("frame, ");
        }

        @Override
        public void onLatency(double milliseconds, double agreement, double ageSeconds) {
            expect(milliseconds >= 0 && (Double.isNaN(agreement) || ageSeconds == 0), "a time");
            events.append(Double.isNaN(agreement) ? "time, " : "time on GPU, ");
        }

        @Override
        public void onSkipped(int count, String problem) {
            events.append("skipped ").append(count).append(" [").append(problem).append("], ");
        }

        @Override
        public void onError(String message) {
            events.append("error [").append(message).append("], ");
        }

        @Override
        public void onTryingGpu(boolean trying) {
            if (trying != isTrying) events.append(trying ? "tries, " : "tried, ");
            isTrying = trying;
        }

        void frame(Model model) {
            session.segment(SelfTest.frame(model), System.nanoTime());
        }

        void expectEvents(String expected) {
            expect(events.toString().equals(expected), events + "instead of " + expected);
            events.setLength(0);
        }
    }

    private static void aSessionRunsOnTheWantedDevice(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.frame(model);
        app.session.load(model.path, "road", false);
        app.frame(model);
        app.expectEvents("road on CPU, time, frame, ");
        ConstantGraph first = (ConstantGraph) app.cpu;
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.gpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", true);
        expect(first.closed, "the previous model is closed");
        app.frame(model);
        app.frame(model);
        app.expectEvents(
                "tries, compiles, road on GPU, tried, frame, time on GPU, frame, ");
        app.session.close();
        expect(!app.session.ready() && ((ConstantGraph) app.gpu).closed, "closed");
    }

    private static void aSessionFallsBackToTheCpuWhateverTheGpuDoes(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", true);
        app.frame(model);
        app.expectEvents("tries, compiles, tried, "
                + "road on CPU [road: cannot be compiled; running on the CPU], time, frame, ");
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.gpu = new ConstantGraph(model, 1, OTHER + 4608);
        app.session.load(model.path, "road", true);
        app.frame(model);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU [road: the GPU"
                + " agrees with the CPU on only 50.000 % of a frame's pixels (limit 99.5%);"
                + " running on the CPU], frame, ");
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.gpu = new ConstantGraph(model, 1, OTHER) {
            @Override
            public void run() throws InputException {
                throw new InputException("LiteRT inference failed");
            }
        };
        app.session.load(model.path, "road", true);
        app.frame(model);
        app.frame(model);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU [road: on the GPU LiteRT"
                + " inference failed; running on the CPU], frame, time, frame, ");
        expect(!((ConstantGraph) app.cpu).closed && ((ConstantGraph) app.gpu).closed, "the GPU");
    }

    private static void aGpuThatIsGivenUpBeforeTheFirstFrameIsNoLongerTried(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.gpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", true);
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", false);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU, ");
        app.gpu = new ConstantGraph(model, 1, OTHER);
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", true);
        app.session.close();
        app.expectEvents("tries, compiles, road on GPU, tried, ");
    }

    private static void aSessionKeepsTheOldModelWhenTheNewFileIsBad(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, OTHER);
        app.session.load(model.path, "road", false);
        app.session.load(new File("no such"), "other", false);
        app.frame(model);
        app.expectEvents("road on CPU, error [other: cannot be read (No such file or directory)],"
                + " time, frame, ");
    }

    private static void aSessionSkipsFramesWithoutAClassAndStopsAfterMany(Model model) {
        FakeApp app = new FakeApp();
        boolean[] fails = {true};
        app.cpu = new ConstantGraph(model, 1, OTHER) {
            @Override
            public byte[] readUint8() {
                byte[] output = super.readUint8();
                if (fails[0]) output[7] = 3;
                return output;
            }
        };
        app.session.load(model.path, "road", false);
        app.frame(model);
        String problem = "the model predicts no class at 1 pixels (its logits are not finite, or"
                + " the device computes wrongly)";
        app.expectEvents("road on CPU, skipped 1 [" + problem + "], ");
        fails[0] = false;
        app.frame(model);
        fails[0] = true;
        app.frame(model);
        app.expectEvents("time, frame, skipped 2 [" + problem + "], ");
        for (int i = 0; i < 23; i++) app.frame(model);
        expect(app.session.ready(), "24 in a row");
        app.events.setLength(0);
        app.frame(model);
        app.expectEvents("error [25 frames in a row cannot be segmented (" + problem + ")], ");
        expect(!app.session.ready() && ((ConstantGraph) app.cpu).closed, "closed");
    }
}
