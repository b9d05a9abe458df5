// Contract, fit, class map, colours: plain Java that uses no Android class. src/check holds the
// programs that tests/deploy/test_android.py runs; they are not part of the app.
plugins {
    `java-library`
}

tasks.withType<JavaCompile>().configureEach {
    options.release.set(11)
    options.compilerArgs.addAll(listOf("-Xlint:all", "-Werror"))
}
