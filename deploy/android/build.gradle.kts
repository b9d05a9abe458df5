plugins {
    id("com.android.application") version "8.9.1" apply false
}
