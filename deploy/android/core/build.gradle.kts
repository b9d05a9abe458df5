// Contract, fit, class map, colours: plain Java without a class of Android's. src/check holds the
// programs by which tests/deploy/test_android.py asks it; they are no part of the app.
plugins {
    `java-library`
}

tasks.withType<JavaCompile>().configureEach {
    options.release.set(11)
    options.compilerArgs.addAll(listOf("-Xlint:all", "-Werror"))
}
