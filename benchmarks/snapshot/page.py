"""The page that keeps the last result: how it was measured, and the figures."""

PAGE = """# Benchmarks of the snapshot engine

Written by `python -m benchmarks.snapshot --markdown docs/benchmarks.md` on {date}. Medians; the
range is over the rounds.

{facts}

## Goals

{goals}

## Every tool, every stage

Median wall / CPU seconds + the processors' time beside it, in brackets the range of the wall; bytes stored on the first
day and, added, on the next.

{costs}

## How it is measured

- **Workspace.** bf16, fp16 and fp32 weights with a scale of their own for each layer, a checkpoint with Adam state, a
  virtual environment with real libraries, jsonl, images that do not compress, a repository. *Next*: the checkpoint
  trained on, 1.5 % of the files edited (a tenth of them deleted), lines appended, new files. *Restored*: the first
  snapshot brought back on an empty machine, then the same day's change, then a snapshot.
- **Turns.** In each round every tool does the same step before the next step begins, and another tool begins each
  round. Before each step the files it reads are read once and the disk is synced. Restored trees are deleted after the
  round: ext4 looks for each new file among the inodes that were deleted in the last minutes, which a new machine has
  none of.
- **Cost.** Wall from the command to the end of its last process; CPU is user + system of all its processes, start-up
  included, the store's not. Our job is the detached one that a machine runs, encrypted with AES-256-GCM: from the
  bundle, with its packages compiled as pip leaves them there.
- **Store.** A process on loopback that writes PUTs past the page cache and answers GETs with `sendfile`, for all but
  borg. restic speaks its own REST protocol to it, which costs it less than S3's signatures. borg writes to a local
  folder instead, without HTTP: that favours it. The restore favours tar: it brings back the first snapshot, one
  archive; the second would need both. *Beside*: what the store and the kernel's own threads took from the same
  processors meanwhile; a store elsewhere would not.
- **tar** keeps a listed-incremental file, so that the next day stores only what changed. **restic-tuned**: fastest
  compression, 64 MiB packs, 8 readers, no scan. **restic-trusting** believes size and mtime alone. **rclone** keeps one
  copy and no history.
- **Proof.** After every restore the tree is compared with the original: bytes, links, modes and times.
- **Codecs.** One thread, CPU seconds: what else the machine does changes them little.
- **1 Gbit/s and 25 ms.** The store lets 125 MB/s through in each direction over all connections, and waits 25 ms before
  it answers a request or accepts a connection. Wire limit: bytes received ÷ 125 MB/s + 25 ms.
- **Usable** is the moment the job's progress says so, asked every 20 ms, written by the job four times a second. The
  weights beyond those of the workspace are sparse: 1 MiB of noise in every 4 MiB.
- **Pre-copy.** A day's work after the last snapshot: bytes of a hibernation that starts from there, and of one that a
  background snapshot preceded while the machine idled.
"""
