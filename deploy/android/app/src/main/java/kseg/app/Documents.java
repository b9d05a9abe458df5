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

/** Files that the user picks. They are copied: LiteRT needs a path, and a document may go away. */
final class Documents {
    private static final long MAX_BYTES = 1L << 30;

    private Documents() {}

    /** What the document is called. */
    static String nameOf(ContentResolver resolver, Uri document) {
        String[] columns = {OpenableColumns.DISPLAY_NAME};
        try (Cursor cursor = resolver.query(document, columns, null, null, null)) {
            if (cursor != null && cursor.moveToFirst() && !cursor.isNull(0)) {
                return cursor.getString(0);
            }
        } catch (RuntimeException error) {
            // A provider of another app: it may throw anything. The name is only for people.
        }
        return String.valueOf(document.getLastPathSegment());
    }

    /**
     * Replaces the file `to` by the document if that is a model; otherwise `to` stays as it was.
     */
    static void copyModel(ContentResolver resolver, Uri document, String name, File to)
            throws InputException {
        File partial = new File(to.getPath() + ".partial");
        try {
            copy(resolver, document, name, partial);
            Model.open(partial, name);
            if (!partial.renameTo(to)) {
                throw new InputException(name + ": cannot be kept in the app's storage");
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
            if (in == null) throw new IOException("nothing there");
            byte[] part = new byte[1 << 16];
            long size = 0;
            for (int count = in.read(part); count >= 0; count = in.read(part)) {
                size += count;
                if (size > MAX_BYTES) {
                    throw new InputException(name + ": more than 1 GiB, too large for a model");
                }
                out.write(part, 0, count);
            }
            out.getFD().sync();
        }
    }
}
