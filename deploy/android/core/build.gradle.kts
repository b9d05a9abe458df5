// Contract, fit, class map and colours: plain Java without a class of Android's. src/check holds
// the programs by which tests/test_android.py asks it; they are no part of the app.
plugins {
    `java-library`
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

tasks.withType<JavaCompile>().configureEach {
    options.compilerArgs.addAll(listOf("-Xlint:all", "-Werror"))
}
