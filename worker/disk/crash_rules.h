// The ordering rules that make a crash harmless, by name: what tests/crash switches off, one at a time, to prove that
// it would notice.
#pragma once

namespace worker::disk::rule {

#ifdef EXT4BOX_CRASH_RULES
/// Only in the crash test's own build of the worker's libraries.
using Switch = bool;
#else
/// A rule of the product is a constant: there is nothing to switch.
using Switch = const bool;
#endif

/// A commit's log blocks, and the file data it makes reachable, are durable before its commit block is written.
inline Switch flush_before_commit_block = true;
/// A commit is announced, and its blocks are written home, only once its commit block is durable.
inline Switch flush_after_commit_block = true;
/// A freed block that lies in the log is revoked, so that replay does not put it over what came after it.
inline Switch revoke = true;
/// Freed blocks are not given out before the operation that freed them is durable.
inline Switch delay_reuse = true;
/// Home blocks are durable before the log's tail passes their copies.
inline Switch flush_before_tail_update = true;
/// No block is written home before the transaction that it belongs to is durable.
inline Switch home_writes_after_commit = true;
/// What lost its last name, or is being cut, is on the volume's list of orphans until nothing is left to free.
inline Switch orphan_protection = true;
/// File data is written before the operation that makes it reachable.
inline Switch data_before_metadata = true;

}  // namespace worker::disk::rule
