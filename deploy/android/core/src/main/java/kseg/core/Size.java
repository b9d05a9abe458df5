package kseg.core;

/** Height and width, in pixels. */
public final class Size {
    public final int height, width;

    public Size(int height, int width) {
        this.height = height;
        this.width = width;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Size
                && height == ((Size) other).height
                && width == ((Size) other).width;
    }

    @Override
    public int hashCode() {
        return 31 * height + width;
    }

    @Override
    public String toString() {
        return "(" + height + ", " + width + ")";
    }
}
