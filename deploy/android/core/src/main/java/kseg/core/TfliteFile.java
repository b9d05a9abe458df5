package kseg.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/**
 * Reads a .tflite: the contract inside, the checksum, and the graph's input and output types. Every
 * offset is checked before it is followed, so the file may hold any bytes.
 */
public final class TfliteFile {
    static final String REEXPORT = "re-export it with `python -m kseg.export --tflite`";

    private static final byte[] CONTRACT_NAME = ascii("kseg_contract");
    private static final int TRAILER_BYTES = 8;

    // Field numbers of TFLite's schema.fbs (version 3).
    private static final int MODEL_SUBGRAPHS = 2, MODEL_BUFFERS = 4, MODEL_METADATA = 6;
    private static final int METADATA_NAME = 0, METADATA_BUFFER = 1;
    private static final int BUFFER_DATA = 0;
    private static final int GRAPH_TENSORS = 0, GRAPH_INPUTS = 1, GRAPH_OUTPUTS = 2;
    private static final int TENSOR_SHAPE = 0, TENSOR_TYPE = 1;

    private final FlatBuffer file;
    private final String where;

    /** `bytes`: the complete file. Errors start with `where`. */
    public TfliteFile(ByteBuffer bytes, String where) {
        this.file = new FlatBuffer(bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN));
        this.where = where;
    }

    /** Maps a file of less than 2 GiB into memory. Errors start with `where`. */
    public static TfliteFile open(File path, String where) throws InputException {
        try (FileInputStream stream = new FileInputStream(path);
                FileChannel channel = stream.getChannel()) {
            long size = channel.size();
            if (size > Integer.MAX_VALUE) {
                throw new InputException(
                        where + ": cannot be read (not a file of less than 2 GiB)");
            }
            return new TfliteFile(channel.map(FileChannel.MapMode.READ_ONLY, 0, size), where);
        } catch (IOException error) {
            throw new InputException(where + ": cannot be read (" + reason(error) + ")");
        }
    }

    /** The system's reason, which Java puts into the last parentheses, after the path. */
    private static String reason(IOException error) {
        String message = String.valueOf(error.getMessage());
        int open = message.lastIndexOf('('), close = message.lastIndexOf(')');
        return open >= 0 && close > open ? message.substring(open + 1, close) : message;
    }

    /** Returns the contract's JSON text. */
    byte[] contractText() throws InputException {
        FlatBuffer.Range magic = file.range(4, 4);
        if (file.size() < 8 || magic == null || !file.equal(magic, ascii("TFL3"))) {
            throw new InputException(
                    where + ": not a .tflite file (its first bytes are " + firstBytes() + ")");
        }
        long model = file.follow(0);
        if (model < 0) throw corrupt("its root");
        long metadata = file.field(model, MODEL_METADATA);
        InputException none = new InputException(where + ": no kseg contract inside; " + REEXPORT);
        if (metadata == FlatBuffer.ABSENT) throw none;
        FlatBuffer.Range entries = file.vector(metadata, 4);
        if (entries == null) throw corrupt("its metadata");
        for (int i = 0; i < entries.length; i++) {
            long entry = file.follow(entries.start + 4L * i);
            if (entry < 0) throw corrupt("a metadata entry");
            long nameField = file.field(entry, METADATA_NAME);
            if (nameField == FlatBuffer.ABSENT) continue;
            FlatBuffer.Range name = file.vector(nameField, 1);
            if (name == null) throw corrupt("a metadata name");
            if (file.equal(name, CONTRACT_NAME)) return bufferOf(model, entry);
        }
        throw none;
    }

    private byte[] bufferOf(long model, long entry) throws InputException {
        long indexField = file.field(entry, METADATA_BUFFER);
        long index = indexField == FlatBuffer.ABSENT ? 0 : file.uint32(indexField);
        FlatBuffer.Range buffers = file.vector(file.field(model, MODEL_BUFFERS), 4);
        if (index < 0 || buffers == null || index >= buffers.length) throw corrupt("its contract");
        long buffer = file.follow(buffers.start + 4 * index);
        if (buffer < 0) throw corrupt("its contract");
        FlatBuffer.Range data = file.vector(file.field(buffer, BUFFER_DATA), 1);
        if (data == null) throw corrupt("its contract");
        // One byte more than a contract may have, so that the parser reports it.
        return file.bytes(data, Json.MAX_BYTES + 1);
    }

    private InputException corrupt(String offset) {
        return new InputException(
                where + ": corrupt .tflite file (" + offset + " points outside); " + REEXPORT);
    }

    /**
     * Fails unless the last 8 bytes are "KCRC" and the CRC-32 of all bytes before them. LiteRT
     * verifies a file's structure but not its numbers: it silently runs corrupt weights.
     */
    void verifyChecksum() throws InputException {
        long size = file.size() - TRAILER_BYTES;
        FlatBuffer.Range mark = file.range(size, 4);
        if (mark == null || !file.equal(mark, ascii("KCRC"))) {
            throw new InputException(
                    where + ": truncated, or without kseg.export's checksum; " + REEXPORT);
        }
        if (file.uint32(size + 4) != file.crc32(size)) {
            throw new InputException(
                    where
                            + ": corrupt .tflite file (checksum mismatch); copy it again or "
                            + REEXPORT);
        }
    }

    /** Type of the graph's only input or only output. */
    TensorType tensor(boolean isInput) throws InputException {
        long model = file.follow(0);
        FlatBuffer.Range graphs = file.vector(file.field(model, MODEL_SUBGRAPHS), 4);
        long graph = graphs == null || graphs.length != 1 ? -1 : file.follow(graphs.start);
        int field = isInput ? GRAPH_INPUTS : GRAPH_OUTPUTS;
        FlatBuffer.Range indices = file.vector(file.field(graph, field), 4);
        FlatBuffer.Range tensors = file.vector(file.field(graph, GRAPH_TENSORS), 4);
        long index = indices == null || indices.length != 1 ? -1 : file.uint32(indices.start);
        if (index < 0 || tensors == null || index >= tensors.length) throw unsupported();
        long tensor = file.follow(tensors.start + 4 * index);
        long typeField = file.field(tensor, TENSOR_TYPE);
        int typeNumber = typeField == FlatBuffer.ABSENT ? 0 : file.uint8(typeField);
        DataType type = DataType.ofSchema(typeNumber);
        FlatBuffer.Range sides = file.vector(file.field(tensor, TENSOR_SHAPE), 4);
        if (type == null || sides == null || sides.length > 4) throw unsupported();
        int[] shape = new int[sides.length];
        for (int i = 0; i < shape.length; i++) {
            long side = file.uint32(sides.start + 4L * i);
            if (side < 1 || side > Contract.MAX_SIDE) throw unsupported();
            shape[i] = (int) side;
        }
        return new TensorType(shape, type);
    }

    private InputException unsupported() {
        return new InputException(
                where + ": its graph was not written by kseg.export; " + REEXPORT);
    }

    /** The first 8 bytes as Python prints them. */
    private String firstBytes() {
        byte[] bytes = file.bytes(new FlatBuffer.Range(0, (int) Math.min(8, file.size())), 8);
        StringBuilder out = new StringBuilder("b'");
        for (byte b : bytes) {
            if (b == '\n' || b == '\r' || b == '\t') {
                out.append(b == '\n' ? "\\n" : b == '\r' ? "\\r" : "\\t");
            } else if (b == '\\' || b == '\'') {
                out.append('\\').append((char) b);
            } else if (b >= 0x20 && b < 0x7F) {
                out.append((char) b);
            } else {
                out.append(String.format(Locale.ROOT, "\\x%02x", b & 0xFF));
            }
        }
        return out.append("'").toString();
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
