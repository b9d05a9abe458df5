package kseg.core;

import java.io.File;

/**
 * What tests/deploy/test_android.py does not ask over a pipe: Claims MODEL. Ends with the first that
 * fails.
 */
final class Claims {
    public static void main(String[] args) throws Exception {
        latencyIsTheMedianOfTheLatest();
        Model model = Model.open(new File(args[0]), "model");
        aGpuThatAnswersAsTheCpuTakesOver(model);
        aGpuThatAnswersOtherwiseIsRejected(model);
        anAnswerOfAnotherLengthIsAnError(model);
        aSessionRunsWhereItIsAsked(model);
        aSessionEndsOnTheCpuWhateverTheGpuDoes(model);
        aGpuThatIsGivenUpBeforeAFrameIsNotTriedAnyMore(model);
        aSessionKeepsWhatRanWhenAFileIsBad(model);
        aSessionWhoseCpuFailsStops(model);
        System.out.println("claims hold");
    }

    private static void expect(boolean right, String claim) {
        if (!right) throw new AssertionError(claim);
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

    /** Answers one class everywhere, but for the first `wrong` pixels. */
    private static class Constant implements Graph {
        final int id, wrong, count;
        int runs;
        boolean closed;

        Constant(Model model, int id, int wrong) {
            this.id = id;
            this.wrong = wrong;
            this.count = (int) model.output.count();
        }

        @Override
        public void writeUint8(byte[] input) {}

        @Override
        public void writeFloat32(float[] input) {
            throw new AssertionError("the golden model takes uint8");
        }

        @Override
        public void run() throws InputException {
            runs++;
        }

        @Override
        public byte[] readUint8() {
            byte[] answer = new byte[count];
            for (int i = 0; i < count; i++) answer[i] = (byte) (i < wrong ? 7 : id);
            return answer;
        }

        @Override
        public int[] readInt32() {
            throw new AssertionError("the golden model answers uint8");
        }

        @Override
        public float[] readFloat32() {
            throw new AssertionError("the golden model answers uint8");
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

    private static void aGpuThatAnswersAsTheCpuTakesOver(Model model) throws InputException {
        int few = (int) (0.005 * model.output.count());
        Constant gpu = new Constant(model, 1, few), cpu = new Constant(model, 1, 0);
        Image classMap = new Image();
        CheckedSegmenter checked =
                new CheckedSegmenter(new Segmenter(model, gpu), new Segmenter(model, cpu));
        expect(!checked.rejected(), "not yet asked");
        checked.run(frame(model), classMap);
        expect(checked.agreement() == 1 - few / (double) gpu.count, "the share that agrees");
        expect(!checked.rejected() && cpu.closed && !gpu.closed, "the CPU goes");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 2 && cpu.runs == 1, "one frame is proof enough");
        expect(classMap.data()[0] == 7, "the GPU's answer");
        checked.close();
        expect(gpu.closed, "closed at the end");
    }

    private static void aGpuThatAnswersOtherwiseIsRejected(Model model) throws InputException {
        int many = (int) (0.006 * model.output.count());
        Constant gpu = new Constant(model, 1, many), cpu = new Constant(model, 1, 0);
        Image classMap = new Image();
        CheckedSegmenter checked =
                new CheckedSegmenter(new Segmenter(model, gpu), new Segmenter(model, cpu));
        checked.run(frame(model), classMap);
        expect(checked.rejected() && gpu.closed && !cpu.closed, "the GPU goes");
        expect(classMap.data()[0] == 1, "already the first frame is the CPU's");
        checked.run(frame(model), classMap);
        expect(gpu.runs == 1 && cpu.runs == 2 && checked.rejected(), "the CPU works on");
        checked.close();
        expect(cpu.closed, "closed at the end");
    }

    private static void anAnswerOfAnotherLengthIsAnError(Model model) {
        Graph graph = new Constant(model, 1, 0) {
            @Override
            public byte[] readUint8() {
                return new byte[5];
            }
        };
        String said = "";
        try {
            new Segmenter(model, graph).run(frame(model), new Image());
        } catch (InputException error) {
            said = error.getMessage();
        }
        expect(said.equals("the model answers 5 values instead of 9216"), said);
    }

    /** Makes the graphs that it was given, and writes down what the session says. */
    private static final class Scene implements Session.Runtime, Session.Listener {
        final Session session = new Session(this, this);
        final StringBuilder said = new StringBuilder();
        Graph cpu, gpu; // Null: cannot be compiled.
        boolean isTrying;

        @Override
        public Graph compile(Model model, boolean onGpu, String name) throws InputException {
            if (onGpu) said.append("compiles, ");
            Graph graph = onGpu ? gpu : cpu;
            if (graph == null) throw new InputException(name + ": not on this one");
            return graph;
        }

        @Override
        public void onModel(String name, Contract contract, boolean onGpu, String note) {
            said.append(name).append(onGpu ? " on GPU" : " on CPU");
            said.append(note.isEmpty() ? ", " : " [" + note + "], ");
        }

        @Override
        public void onFrame(int[] argb, Size size) {
            expect(argb.length == size.height * size.width, "a colour for each pixel");
            said.append("frame, ");
        }

        @Override
        public void onLatency(double milliseconds, double agreement) {
            expect(milliseconds >= 0, "a time");
            said.append(Double.isNaN(agreement) ? "time, " : "time on GPU, ");
        }

        @Override
        public void onError(String message) {
            said.append("error [").append(message).append("], ");
        }

        @Override
        public void onTryingGpu(boolean trying) {
            if (trying != isTrying) said.append(trying ? "tries, " : "tried, ");
            isTrying = trying;
        }

        void frame(Model model) {
            session.segment(Claims.frame(model), System.nanoTime());
        }

        void expectSaid(String expected) {
            expect(said.toString().equals(expected), said + "instead of " + expected);
            said.setLength(0);
        }
    }

    private static void aSessionRunsWhereItIsAsked(Model model) {
        Scene scene = new Scene();
        scene.cpu = new Constant(model, 1, 0);
        scene.frame(model);
        scene.session.load(model.path, "road", false);
        scene.frame(model);
        scene.expectSaid("road on CPU, time, frame, ");
        Constant first = (Constant) scene.cpu;
        scene.cpu = new Constant(model, 1, 0);
        scene.gpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", true);
        expect(first.closed, "what ran before is closed");
        scene.frame(model);
        scene.frame(model);
        scene.expectSaid(
                "tries, compiles, road on GPU, tried, frame, time on GPU, frame, ");
        scene.session.close();
        expect(!scene.session.ready() && ((Constant) scene.gpu).closed, "closed");
    }

    private static void aSessionEndsOnTheCpuWhateverTheGpuDoes(Model model) {
        Scene scene = new Scene();
        scene.cpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", true);
        scene.frame(model);
        scene.expectSaid("tries, compiles, tried, "
                + "road on CPU [road: not on this one; running on the CPU], time, frame, ");
        scene.cpu = new Constant(model, 1, 0);
        scene.gpu = new Constant(model, 1, 4608);
        scene.session.load(model.path, "road", true);
        scene.frame(model);
        scene.expectSaid("tries, compiles, road on GPU, tried, road on CPU [road: the GPU answers"
                + " as the CPU on only 50.0 % of the first frame's pixels (limit 99.5 %);"
                + " running on the CPU], frame, ");
        scene.cpu = new Constant(model, 1, 0);
        scene.gpu = new Constant(model, 1, 0) {
            @Override
            public void run() throws InputException {
                throw new InputException("LiteRT inference failed");
            }
        };
        scene.session.load(model.path, "road", true);
        Constant reference = (Constant) scene.cpu;
        scene.cpu = new Constant(model, 1, 0);
        scene.frame(model);
        scene.frame(model);
        scene.expectSaid("tries, compiles, road on GPU, tried, road on CPU [LiteRT inference"
                + " failed; running on the CPU], time, frame, ");
        expect(reference.closed && ((Constant) scene.gpu).closed, "both closed");
    }

    private static void aGpuThatIsGivenUpBeforeAFrameIsNotTriedAnyMore(Model model) {
        Scene scene = new Scene();
        scene.cpu = new Constant(model, 1, 0);
        scene.gpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", true);
        scene.cpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", false);
        scene.expectSaid("tries, compiles, road on GPU, tried, road on CPU, ");
        scene.gpu = new Constant(model, 1, 0);
        scene.cpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", true);
        scene.session.close();
        scene.expectSaid("tries, compiles, road on GPU, tried, ");
    }

    private static void aSessionKeepsWhatRanWhenAFileIsBad(Model model) {
        Scene scene = new Scene();
        scene.cpu = new Constant(model, 1, 0);
        scene.session.load(model.path, "road", false);
        scene.session.load(new File("no such"), "other", false);
        scene.frame(model);
        scene.expectSaid("road on CPU, error [other: cannot be read (No such file or directory)],"
                + " time, frame, ");
    }

    private static void aSessionWhoseCpuFailsStops(Model model) {
        Scene scene = new Scene();
        scene.cpu = new Constant(model, 1, 0) {
            @Override
            public void run() throws InputException {
                throw new InputException("LiteRT inference failed");
            }
        };
        scene.session.load(model.path, "road", false);
        scene.frame(model);
        scene.expectSaid("road on CPU, error [LiteRT inference failed], ");
        expect(!scene.session.ready() && ((Constant) scene.cpu).closed, "closed");
    }
}
