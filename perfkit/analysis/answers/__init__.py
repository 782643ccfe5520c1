"""From the blocks of a campaign to its answer: frames in, frames out; `frame` declares the first."""
