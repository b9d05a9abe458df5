"""From labelled driving images to TFRecords that kseg trains on."""
