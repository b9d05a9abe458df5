package kseg.core;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * The whole core, with LiteRT at the other end of a pipe: SegmentPipe MODEL. Reads, again and
 * again, 2 int32 (frame height and width) and the frame; writes the graph's input, reads its
 * output, writes the class map and its colours (int32 ARGB).
 */
final class SegmentPipe {
    public static void main(String[] args) throws Exception {
        Pipe pipe = new Pipe();
        Model model;
        try {
            model = Model.open(new File(args[0]), args[0]);
        } catch (InputException error) {
            System.err.println("error: " + error.getMessage());
            System.exit(2);
            return;
        }
        Image frame = new Image(), classMap = new Image();
        Palette palette = new Palette(model.contract);
        try (Segmenter segmenter = new Segmenter(model, new PipeGraph(pipe, model))) {
            for (int[] head = pipe.header(2); head != null; head = pipe.header(2)) {
                frame.resize(new Size(head[0], head[1]), 3);
                pipe.read(frame.data());
                segmenter.run(frame, classMap);
                int[] colors = new int[classMap.data().length];
                palette.paint(classMap, colors);
                pipe.write(classMap.data());
                pipe.write(little(4 * colors.length, buffer -> buffer.asIntBuffer().put(colors)));
                pipe.flush();
            }
        }
    }

    private interface Filler {
        void fill(ByteBuffer buffer);
    }

    private static byte[] little(int bytes, Filler filler) {
        byte[] out = new byte[bytes];
        filler.fill(ByteBuffer.wrap(out).order(ByteOrder.LITTLE_ENDIAN));
        return out;
    }

    /** Whoever reads the pipe runs the graph. */
    private static final class PipeGraph implements Graph {
        private final Pipe pipe;
        private final int count;

        PipeGraph(Pipe pipe, Model model) {
            this.pipe = pipe;
            this.count = (int) model.output.count();
        }

        @Override
        public void writeUint8(byte[] input) {
            try {
                pipe.write(input);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        @Override
        public void writeFloat32(float[] input) {
            writeUint8(little(4 * input.length, buffer -> buffer.asFloatBuffer().put(input)));
        }

        @Override
        public void run() {
            try {
                pipe.flush();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private ByteBuffer read(int bytes) {
            byte[] answer = new byte[bytes];
            try {
                pipe.read(answer);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return ByteBuffer.wrap(answer).order(ByteOrder.LITTLE_ENDIAN);
        }

        @Override
        public byte[] readUint8() {
            return read(count).array();
        }

        @Override
        public int[] readInt32() {
            int[] out = new int[count];
            read(4 * count).asIntBuffer().get(out);
            return out;
        }

        @Override
        public float[] readFloat32() {
            float[] out = new float[count];
            read(4 * count).asFloatBuffer().get(out);
            return out;
        }

        @Override
        public void close() {}
    }
}
