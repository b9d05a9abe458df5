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
        anOutputOfAnotherLengthIsAnError(model);
        aSessionRunsOnTheWantedDevice(model);
        aSessionFallsBackToTheCpuWhateverTheGpuDoes(model);
        aGpuThatIsGivenUpBeforeTheFirstFrameIsNoLongerTried(model);
        aSessionKeepsTheOldModelWhenTheNewFileIsBad(model);
        aSessionStopsWhenTheCpuFails(model);
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

    private static Image frame(Model model) {
        Image frame = new Image();
        frame.resize(model.contract.inputSize, 3);
        return frame;
    }

    private static void aGpuThatAgreesWithTheCpuIsUsed(Model model) throws InputException {
        int few = (int) (0.005 * model.output.count());
        ConstantGraph gpu = new ConstantGraph(model, 1, few), cpu = new ConstantGraph(model, 1, 0);
        Image classMap = new Image();
        CheckedSegmenter checked =
                new CheckedSegmenter(new Segmenter(model, gpu), new Segmenter(model, cpu));
        expect(!checked.rejected(), "not yet compared");
        checked.run(frame(model), classMap);
        expect(checked.agreement() == 1 - few / (double) gpu.count, "the share that agrees");
        expect(!checked.rejected() && cpu.closed && !gpu.closed, "the CPU is closed");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 2 && cpu.runs == 1, "only one frame is compared");
        expect(classMap.data()[0] == 2, "the GPU's class map");
        checked.close();
        expect(gpu.closed, "closed at the end");
    }

    private static void aGpuThatDisagreesWithTheCpuIsRejected(Model model) throws InputException {
        int many = (int) (0.006 * model.output.count());
        ConstantGraph gpu = new ConstantGraph(model, 1, many), cpu = new ConstantGraph(model, 1, 0);
        Image classMap = new Image();
        CheckedSegmenter checked =
                new CheckedSegmenter(new Segmenter(model, gpu), new Segmenter(model, cpu));
        checked.run(frame(model), classMap);
        expect(checked.rejected() && gpu.closed && !cpu.closed, "the GPU is closed");
        expect(classMap.data()[0] == 1, "the first frame is already the CPU's");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 1 && cpu.runs == 2 && checked.rejected(), "the CPU continues");
        checked.close();
        expect(cpu.closed, "closed at the end");
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
        final Session session = new Session(this, this);
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
        public void onLatency(double milliseconds, double agreement) {
            expect(milliseconds >= 0, "a time");
            events.append(Double.isNaN(agreement) ? "time, " : "time on GPU, ");
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
        app.cpu = new ConstantGraph(model, 1, 0);
        app.frame(model);
        app.session.load(model.path, "road", false);
        app.frame(model);
        app.expectEvents("road on CPU, time, frame, ");
        ConstantGraph first = (ConstantGraph) app.cpu;
        app.cpu = new ConstantGraph(model, 1, 0);
        app.gpu = new ConstantGraph(model, 1, 0);
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
        app.cpu = new ConstantGraph(model, 1, 0);
        app.session.load(model.path, "road", true);
        app.frame(model);
        app.expectEvents("tries, compiles, tried, "
                + "road on CPU [road: cannot be compiled; running on the CPU], time, frame, ");
        app.cpu = new ConstantGraph(model, 1, 0);
        app.gpu = new ConstantGraph(model, 1, 4608);
        app.session.load(model.path, "road", true);
        app.frame(model);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU [road: the GPU"
                + " agrees with the CPU on only 50.0 % of the first frame's pixels (limit 99.5 %);"
                + " running on the CPU], frame, ");
        app.cpu = new ConstantGraph(model, 1, 0);
        app.gpu = new ConstantGraph(model, 1, 0) {
            @Override
            public void run() throws InputException {
                throw new InputException("LiteRT inference failed");
            }
        };
        app.session.load(model.path, "road", true);
        ConstantGraph reference = (ConstantGraph) app.cpu;
        app.cpu = new ConstantGraph(model, 1, 0);
        app.frame(model);
        app.frame(model);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU [LiteRT inference"
                + " failed; running on the CPU], time, frame, ");
        expect(reference.closed && ((ConstantGraph) app.gpu).closed, "both closed");
    }

    private static void aGpuThatIsGivenUpBeforeTheFirstFrameIsNoLongerTried(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, 0);
        app.gpu = new ConstantGraph(model, 1, 0);
        app.session.load(model.path, "road", true);
        app.cpu = new ConstantGraph(model, 1, 0);
        app.session.load(model.path, "road", false);
        app.expectEvents("tries, compiles, road on GPU, tried, road on CPU, ");
        app.gpu = new ConstantGraph(model, 1, 0);
        app.cpu = new ConstantGraph(model, 1, 0);
        app.session.load(model.path, "road", true);
        app.session.close();
        app.expectEvents("tries, compiles, road on GPU, tried, ");
    }

    private static void aSessionKeepsTheOldModelWhenTheNewFileIsBad(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, 0);
        app.session.load(model.path, "road", false);
        app.session.load(new File("no such"), "other", false);
        app.frame(model);
        app.expectEvents("road on CPU, error [other: cannot be read (No such file or directory)],"
                + " time, frame, ");
    }

    private static void aSessionStopsWhenTheCpuFails(Model model) {
        FakeApp app = new FakeApp();
        app.cpu = new ConstantGraph(model, 1, 0) {
            @Override
            public void run() throws InputException {
                throw new InputException("LiteRT inference failed");
            }
        };
        app.session.load(model.path, "road", false);
        app.frame(model);
        app.expectEvents("road on CPU, error [LiteRT inference failed], ");
        expect(!app.session.ready() && ((ConstantGraph) app.cpu).closed, "closed");
    }
}
