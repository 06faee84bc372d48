"""Several stores behind one: jobs are spread over shards, and each shard does its own share.

    url        what a sharded URL or its file says        placement  which shard a key belongs to
    shards     the shards of this moment, and reloading   health     who answers, who is away
    watch      the thread that asks the absent            enqueue    jobs in
    session    one worker's epoch on every shard          exchange   the hot path
    door       waiting on all shards at once              merge      many answers into one

What holds on one store and not across shards is written at the top of `store.py`.
"""

from turnout.store.sharded.store import ShardedStore

__all__ = ["ShardedStore"]
