package kseg.core;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Segments frames with the complete core, while the test runs the graph: SegmentFrames MODEL.
 * Repeatedly reads 2 int32 (frame height and width) and the frame, writes the graph's input, reads
 * the graph's output, and writes the class map and its colours (int32 ARGB).
 */
final class SegmentFrames {
    public static void main(String[] args) throws Exception {
        BinaryIo io = new BinaryIo();
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
        try (Segmenter segmenter = new Segmenter(model, new RemoteGraph(io, model))) {
            for (int[] head = io.header(2); head != null; head = io.header(2)) {
                frame.resize(new Size(head[0], head[1]), 3);
                io.read(frame.data());
                segmenter.run(frame, classMap);
                int[] colors = new int[classMap.data().length];
                palette.paint(classMap, colors);
                io.write(classMap.data());
                io.write(little(4 * colors.length, buffer -> buffer.asIntBuffer().put(colors)));
                io.flush();
            }
        } catch (InputException error) {
            System.err.println("error: " + error.getMessage());
            System.exit(1);
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

    /** A graph that runs in the process at the other end of the io. */
    private static final class RemoteGraph implements Graph {
        private final BinaryIo io;
        private final int count;

        RemoteGraph(BinaryIo io, Model model) {
            this.io = io;
            this.count = (int) model.output.count();
        }

        @Override
        public void writeUint8(byte[] input) {
            try {
                io.write(input);
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
                io.flush();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private ByteBuffer read(int bytes) {
            byte[] output = new byte[bytes];
            try {
                io.read(output);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return ByteBuffer.wrap(output).order(ByteOrder.LITTLE_ENDIAN);
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
