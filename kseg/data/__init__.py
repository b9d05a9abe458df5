"""Input pipeline: TFRecord shards to tf.data, augmentation and the decoded-frame cache."""
