package kseg.core;

import java.nio.ByteBuffer;

/**
 * Camera frames as Android delivers them: RGBA with padded rows, rotated, with a crop window.
 */
public final class CameraFrames {
    private CameraFrames() {}

    /**
     * Crops a window from an RGBA frame and rotates it upright.
     *
     * @param rgba the first byte of each pixel is red; the buffer's position is not changed
     * @param rowStride bytes from row to row
     * @param pixelStride bytes from pixel to pixel, at least 3
     * @param top first row of the window
     * @param left first column of the window
     * @param window height and width of the window, before rotation
     * @param degrees clockwise rotation that makes it upright: 0, 90, 180 or 270
     * @param out RGB; height and width of the window, swapped for 90 and 270 degrees
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
                    "a camera frame with window " + window + " at (" + top + ", " + left
                            + "), strides " + rowStride + " and " + pixelStride + ", rotated by "
                            + degrees + ": unsupported");
        }
        boolean sideways = degrees % 180 == 90;
        out.resize(sideways ? new Size(window.width, window.height) : window, 3);
        byte[] row = new byte[(window.width - 1) * pixelStride + 3], to = out.data();
        ByteBuffer view = rgba.duplicate();
        int height = window.height, width = window.width;
        for (int y = 0; y < height; y++) {
            FlatBuffer.seek(view, (top + y) * rowStride + left * pixelStride);
            view.get(row);
            // Target index of the row's first pixel, and the step to its neighbour's.
            int first = degrees == 0 ? y * width
                    : degrees == 90 ? height - 1 - y
                    : degrees == 180 ? (height - y) * width - 1
                    : (width - 1) * height + y;
            int step = degrees == 0 ? 1 : degrees == 90 ? height : degrees == 180 ? -1 : -height;
            for (int x = 0, at = 3 * first; x < row.length; x += pixelStride, at += 3 * step) {
                to[at] = row[x];
                to[at + 1] = row[x + 1];
                to[at + 2] = row[x + 2];
            }
        }
    }
}
