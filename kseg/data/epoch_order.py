"""The order of training examples: a function of seed and epoch, so that a run can resume in it."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

_SHUFFLE_BUFFER = 4096  # Serialized examples, at most about 100 MB.


class EpochOrder(NamedTuple):
    """Shuffles shards and then their examples, differently in every epoch.

    An epoch has steps_per_epoch full batches of batch_size examples. The order starts at batch
    first_step of first_epoch and is from there on the same as without these.
    """

    seed: int
    shard_count: int
    batch_size: int
    steps_per_epoch: int
    first_epoch: int = 0
    first_step: int = 0

    def elements(self, read_shards: Callable[[tf.Tensor], tf.data.Dataset]) -> tf.data.Dataset:
        """Returns an endless dataset of (epoch, index within the epoch, element).

        read_shards: returns the dataset of the elements of some shards, given their numbers.
        """
        epochs = tf.data.Dataset.counter(start=self.first_epoch)
        return epochs.flat_map(lambda epoch: self._epoch(epoch, read_shards))

    def _epoch(self, epoch, read_shards):
        shards = tf.random.experimental.stateless_shuffle(
            tf.range(self.shard_count), seed=[self.seed, epoch]
        )
        numbered = _shuffle(read_shards(shards), self.seed, epoch).enumerate()
        steps_done = tf.where(epoch == self.first_epoch, self.first_step, 0)
        numbered = numbered.take(self.steps_per_epoch * self.batch_size)
        numbered = numbered.skip(tf.cast(steps_done * self.batch_size, tf.int64))
        return numbered.map(lambda index, element: (epoch, index, element))


def _shuffle(dataset, seed, epoch):
    """Dataset.shuffle with a tensor as seed: the public method takes Python integers only."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=_SHUFFLE_BUFFER,
        seed=tf.constant(seed + 1, tf.int64),  # Two zeros would mean: seed from the clock.
        seed2=epoch,
        reshuffle_each_iteration=False,
        output_types=[dataset.element_spec.dtype],
        output_shapes=[[]],
    )
    return tf.data.experimental.from_variant(shuffled, dataset.element_spec)
