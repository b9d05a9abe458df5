plugins {
    id("com.android.application")
}

android {
    namespace = "kseg.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "kseg.app"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    val camerax = "1.5.2"
    implementation(project(":core"))
    implementation("com.google.ai.edge.litert:litert:2.1.6")
    implementation("androidx.activity:activity:1.12.1")
    implementation("androidx.camera:camera-core:$camerax")
    implementation("androidx.camera:camera-camera2:$camerax")
    implementation("androidx.camera:camera-lifecycle:$camerax")
    implementation("androidx.camera:camera-view:$camerax")
}
