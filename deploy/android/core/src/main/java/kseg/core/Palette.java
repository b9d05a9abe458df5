package kseg.core;

/** The colours of a contract's classes, for the overlay on the camera preview. */
public final class Palette {
    private static final int HALF = 0x80000000;

    private final int[] argb = new int[256];

    public Palette(Contract contract) {
        for (Contract.Label label : contract.classes) {
            int color = label.red << 16 | label.green << 8 | label.blue;
            if (label.shown()) argb[label.id] = HALF | color;
        }
    }

    /** Class ids -> ARGB: half opaque; transparent where the class is black or was not seen. */
    public void paint(Image classMap, int[] to) {
        byte[] ids = classMap.data();
        for (int i = 0; i < ids.length; i++) to[i] = argb[ids[i] & 0xFF];
    }
}
