package kseg.app;

import android.content.ContentResolver;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import kseg.core.InputException;
import kseg.core.Model;

/** Documents that the user picks, copied because LiteRT needs a path and a document may vanish. */
final class Documents {
    private static final long MAX_BYTES = 1L << 30;

    private Documents() {}

    /** The document's display name. */
    static String nameOf(ContentResolver resolver, Uri document) {
        String[] columns = {OpenableColumns.DISPLAY_NAME};
        try (Cursor cursor = resolver.query(document, columns, null, null, null)) {
            if (cursor != null && cursor.moveToFirst() && !cursor.isNull(0)) {
                return cursor.getString(0);
            }
        } catch (RuntimeException error) {
            // Another app's provider may throw anything. The name is only displayed.
        }
        return String.valueOf(document.getLastPathSegment());
    }

    /**
     * Replaces the file `to` with the document if that is a valid model; else `to` is unchanged.
     */
    static void copyModel(ContentResolver resolver, Uri document, String name, File to)
            throws InputException {
        File partial = new File(to.getPath() + ".partial");
        try {
            copy(resolver, document, name, partial);
            Model.open(partial, name);
            if (!partial.renameTo(to)) {
                throw new InputException(name + ": cannot be saved in the app's storage");
            }
        } catch (IOException | RuntimeException error) {
            throw new InputException(name + ": cannot be read (" + error.getMessage() + ")");
        } finally {
            partial.delete();
        }
    }

    private static void copy(ContentResolver resolver, Uri document, String name, File to)
            throws IOException, InputException {
        try (InputStream in = resolver.openInputStream(document);
                FileOutputStream out = new FileOutputStream(to)) {
            if (in == null) throw new IOException("the document is missing");
            byte[] chunk = new byte[1 << 16];
            long size = 0;
            for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
                size += count;
                if (size > MAX_BYTES) {
                    throw new InputException(name + ": more than 1 GiB, too large for a model");
                }
                out.write(chunk, 0, count);
            }
            out.getFD().sync();
        }
    }
}
