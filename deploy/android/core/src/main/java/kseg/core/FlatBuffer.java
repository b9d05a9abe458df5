package kseg.core;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.zip.CRC32;

/**
 * FlatBuffers by hand: https://flatbuffers.dev/internals. Positions count from the file's start
 * and may lie outside: reading there answers -1, and everything understands a -1.
 */
final class FlatBuffer {
    static final long OUTSIDE = -1, ABSENT = -2;

    /** Bytes, or items of a vector, that lie inside the file. */
    static final class Range {
        final long start;
        final int length;

        Range(long start, int length) {
            this.start = start;
            this.length = length;
        }
    }

    private final ByteBuffer bytes;

    FlatBuffer(ByteBuffer bytes) {
        this.bytes = bytes;
    }

    long size() {
        return bytes.limit();
    }

    private boolean inside(long position, int count) {
        return position >= 0 && position <= size() - count;
    }

    long uint32(long position) {
        return inside(position, 4) ? bytes.getInt((int) position) & 0xFFFFFFFFL : OUTSIDE;
    }

    int uint8(long position) {
        return inside(position, 1) ? bytes.get((int) position) & 0xFF : -1;
    }

    private int uint16(long position) {
        return inside(position, 2) ? bytes.getShort((int) position) & 0xFFFF : -1;
    }

    /**
     * Where a table's field lies; ABSENT when the table has none, OUTSIDE when it is damaged.
     */
    long field(long table, int number) {
        if (!inside(table, 4)) return OUTSIDE;
        long start = table - bytes.getInt((int) table);
        int size = uint16(start);
        if (size < 0) return OUTSIDE;
        int entry = 4 + 2 * number;
        int offset = entry + 2 <= size ? uint16(start + entry) : 0;
        return offset < 0 ? OUTSIDE : offset == 0 ? ABSENT : table + offset;
    }

    /** Where the offset stored at `position` leads. */
    long follow(long position) {
        long offset = uint32(position);
        return offset < 0 ? OUTSIDE : position + offset;
    }

    Range vector(long position, int itemBytes) {
        long at = follow(position);
        long length = uint32(at);
        if (length < 0 || length > (size() - at - 4) / itemBytes) return null;
        return new Range(at + 4, (int) length);
    }

    Range range(long start, int length) {
        return inside(start, length) ? new Range(start, length) : null;
    }

    boolean equal(Range range, byte[] expected) {
        return range.length == expected.length
                && Arrays.equals(bytes(range, expected.length), expected);
    }

    byte[] bytes(Range range, int most) {
        byte[] out = new byte[Math.min(range.length, most)];
        ByteBuffer view = bytes.duplicate();
        seek(view, (int) range.start);
        view.get(out);
        return out;
    }

    long crc32(long size) {
        CRC32 crc = new CRC32();
        byte[] part = new byte[1 << 16]; // Android 7 has no update(ByteBuffer).
        ByteBuffer view = bytes.duplicate();
        seek(view, 0);
        for (long left = size; left > 0; ) {
            int count = (int) Math.min(part.length, left);
            view.get(part, 0, count);
            crc.update(part, 0, count);
            left -= count;
        }
        return crc.getValue();
    }

    /** As Buffer's: ByteBuffer's own position(int) is younger than Android 9. */
    static void seek(Buffer buffer, int position) {
        buffer.position(position);
    }
}
