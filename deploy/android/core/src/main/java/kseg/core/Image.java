package kseg.core;

import java.util.Arrays;

/** Pixels without gaps between rows: RGB (3 channels) or class ids (1), each an unsigned byte. */
public final class Image {
    private Size size = new Size(0, 0);
    private int channels;
    private byte[] data = new byte[0];

    public Size size() {
        return size;
    }

    /** Height x width x channels bytes, row by row; valid until the next resize. */
    public byte[] data() {
        return data;
    }

    int rowBytes() {
        return size.width * channels;
    }

    /** Changes the shape. The pixels are undefined afterwards. */
    public void resize(Size to, int toChannels) {
        int bytes = Math.multiplyExact(Math.multiplyExact(to.height, to.width), toChannels);
        if (data.length != bytes) data = new byte[bytes];
        size = to;
        channels = toChannels;
    }

    Image copy() {
        Image copy = new Image();
        copy.resize(size, channels);
        System.arraycopy(data, 0, copy.data, 0, data.length);
        return copy;
    }

    void fill(int value) {
        Arrays.fill(data, (byte) value);
    }
}
