package kseg.core;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.zip.CRC32;

/**
 * Reads FlatBuffers (https://flatbuffers.dev/internals) with bounds checks. Written by hand so that
 * the core needs no library. Positions count from the file's start; reading outside the file
 * returns -1, and every method accepts -1 as a position.
 */
final class FlatBuffer {
    static final long OUTSIDE = -1, ABSENT = -2;

    /** A range of bytes, or the items of a vector, inside the file. */
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

    /** Position of a table's field; ABSENT if the table has none, OUTSIDE if it is corrupt. */
    long field(long table, int number) {
        if (!inside(table, 4)) return OUTSIDE;
        long start = table - bytes.getInt((int) table);
        int size = uint16(start);
        if (size < 0) return OUTSIDE;
        int entry = 4 + 2 * number;
        int offset = entry + 2 <= size ? uint16(start + entry) : 0;
        return offset < 0 ? OUTSIDE : offset == 0 ? ABSENT : table + offset;
    }

    /** Position that the offset stored at `position` points to. */
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

    byte[] bytes(Range range, int limit) {
        byte[] out = new byte[Math.min(range.length, limit)];
        ByteBuffer view = bytes.duplicate();
        seek(view, (int) range.start);
        view.get(out);
        return out;
    }

    long crc32(long size) {
        CRC32 crc = new CRC32();
        byte[] chunk = new byte[1 << 16]; // Android 7 has no update(ByteBuffer).
        ByteBuffer view = bytes.duplicate();
        seek(view, 0);
        for (long left = size; left > 0; ) {
            int count = (int) Math.min(chunk.length, left);
            view.get(chunk, 0, count);
            crc.update(chunk, 0, count);
            left -= count;
        }
        return crc.getValue();
    }

    /** Calls Buffer.position(int): ByteBuffer's own needs a newer Android than 9. */
    static void seek(Buffer buffer, int position) {
        buffer.position(position);
    }
}
