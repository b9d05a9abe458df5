package kseg.core;

/** A compiled graph on one accelerator: write the input, run, read the output. */
public interface Graph extends AutoCloseable {
    void writeUint8(byte[] input) throws InputException;

    void writeFloat32(float[] input) throws InputException;

    void run() throws InputException;

    byte[] readUint8() throws InputException;

    int[] readInt32() throws InputException;

    float[] readFloat32() throws InputException;

    @Override
    void close();
}
