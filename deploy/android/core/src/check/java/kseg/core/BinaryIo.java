package kseg.core;

import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Little-endian numbers and raw pixels on standard input and output, for
 * tests/deploy/test_android.py.
 */
final class BinaryIo {
    private final DataInputStream in = new DataInputStream(System.in);
    private final OutputStream out = new BufferedOutputStream(System.out, 1 << 16);

    /** The next numbers; null at the end. */
    int[] header(int count) throws IOException {
        byte[] bytes = new byte[4 * count];
        int first = in.read();
        if (first < 0) return null;
        bytes[0] = (byte) first;
        in.readFully(bytes, 1, bytes.length - 1);
        int[] numbers = new int[count];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(numbers);
        return numbers;
    }

    void read(byte[] to) throws IOException {
        in.readFully(to);
    }

    void write(byte[] from) throws IOException {
        out.write(from);
    }

    void flush() throws IOException {
        out.flush();
    }
}
