package kseg.core;

import java.nio.ByteBuffer;

/** Camera frames as Android hands them out: RGBA with gaps, turned, and with a window to look at. */
public final class Frames {
    private Frames() {}

    /**
     * Cuts a window out of an RGBA picture and turns it upright.
     *
     * @param rgba the first byte of each pixel is red; read by position, its own position untouched
     * @param rowStride bytes from row to row
     * @param pixelStride bytes from pixel to pixel, at least 3
     * @param top first row of the window
     * @param left first column of the window
     * @param window height and width of the window, before turning
     * @param degrees clockwise turn that makes it upright: 0, 90, 180 or 270
     * @param out RGB; height and width of the window, exchanged for 90 and 270 degrees
     */
    public static void upright(
            ByteBuffer rgba, int rowStride, int pixelStride, int top, int left, Size window,
            int degrees, Image out) throws InputException {
        long last = (long) (top + window.height - 1) * rowStride
                + (long) (left + window.width - 1) * pixelStride + 2;
        boolean inside = top >= 0 && left >= 0 && window.height > 0 && window.width > 0
                && pixelStride >= 3 && rowStride > 0 && last < rgba.limit();
        if (!inside || degrees % 90 != 0 || degrees < 0 || degrees > 270) {
            throw new InputException(
                    "a camera frame with window " + window + " at (" + top + ", " + left + "), strides "
                            + rowStride + " and " + pixelStride + ", turned by " + degrees
                            + ": not one that this app reads");
        }
        boolean lies = degrees % 180 == 90;
        out.resize(lies ? new Size(window.width, window.height) : window, 3);
        // Where the upright picture's first pixel comes from, and how far its right and lower
        // neighbours lie apart there.
        int y = degrees == 90 || degrees == 180 ? window.height - 1 : 0;
        int x = degrees == 180 || degrees == 270 ? window.width - 1 : 0;
        int start = (top + y) * rowStride + (left + x) * pixelStride;
        int right = degrees == 0 ? pixelStride : degrees == 90 ? -rowStride
                : degrees == 180 ? -pixelStride : rowStride;
        int down = degrees == 0 ? rowStride : degrees == 90 ? pixelStride
                : degrees == 180 ? -rowStride : -pixelStride;
        copy(rgba, start, right, down, out);
    }

    private static void copy(ByteBuffer rgba, int start, int right, int down, Image out) {
        byte[] to = out.data();
        int at = 0;
        for (int y = 0; y < out.size().height; y++) {
            int from = start + y * down;
            for (int x = 0; x < out.size().width; x++, from += right, at += 3) {
                to[at] = rgba.get(from);
                to[at + 1] = rgba.get(from + 1);
                to[at + 2] = rgba.get(from + 2);
            }
        }
    }
}
