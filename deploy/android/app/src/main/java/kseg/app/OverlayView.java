package kseg.app;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Rect;
import android.util.AttributeSet;
import android.view.View;
import kseg.core.Size;

/** Class colours on top of the preview, which shows the same crop of the frame. */
public final class OverlayView extends View {
    private final Object lock = new Object();
    private final Rect bounds = new Rect();
    private Bitmap bitmap; // Guarded by lock.

    public OverlayView(Context context, AttributeSet attributes) {
        super(context, attributes);
    }

    /** Shows ARGB colours of a frame; null for none. May be called from any thread. */
    void show(int[] argb, Size size) {
        synchronized (lock) {
            if (argb == null) {
                bitmap = null;
            } else {
                if (bitmap == null || bitmap.getWidth() != size.width
                        || bitmap.getHeight() != size.height) {
                    bitmap = Bitmap.createBitmap(size.width, size.height, Bitmap.Config.ARGB_8888);
                }
                bitmap.setPixels(argb, 0, size.width, 0, 0, size.width, size.height);
            }
        }
        postInvalidateOnAnimation();
    }

    @Override
    protected void onDraw(Canvas canvas) {
        bounds.set(0, 0, getWidth(), getHeight());
        synchronized (lock) {
            // No filtering: it would blend two classes' colours into a third one's.
            if (bitmap != null) canvas.drawBitmap(bitmap, null, bounds, null);
        }
    }
}
