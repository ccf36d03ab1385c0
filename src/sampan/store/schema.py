"""The store's tables in state.db. Steps are appended, never changed (`Database.migrate`)."""

from __future__ import annotations

from typing import Final

COMPONENT: Final = "store"

STEPS: Final = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY,            -- digest of the configuration
        manifest TEXT NOT NULL,         -- its descriptor: digest, media type, size
        manifest_type TEXT NOT NULL,
        manifest_bytes INTEGER NOT NULL,
        chain_id TEXT,                  -- of the top layer; NULL for an image without layers
        added_ns INTEGER NOT NULL,
        tagged_ns INTEGER NOT NULL      -- 0: never
    ) STRICT;
    CREATE TABLE image_blobs (          -- every blob that the image needs, itself included
        image_id TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        digest TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE image_names (
        name TEXT PRIMARY KEY,          -- full reference with a tag or a digest
        image_id TEXT NOT NULL REFERENCES images ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX image_names_by_image ON image_names (image_id);
    CREATE TABLE layers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: the short link's name
        chain_id TEXT NOT NULL UNIQUE,
        parent TEXT,                    -- chain id below; NULL for the lowest
        size_bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE snapshots (
        container_id TEXT PRIMARY KEY,
        chain_id TEXT                   -- of the image's top layer; NULL: none
    ) STRICT;
    """,
    # An opaque root: overlayfs merges roots whatever they say, so the layers below are left out of the mount.
    "ALTER TABLE layers ADD COLUMN hides_below INTEGER NOT NULL DEFAULT 0",
    # The image of the container that this one was committed from; known here only, as in Docker.
    "ALTER TABLE images ADD COLUMN parent TEXT NOT NULL DEFAULT ''",
    # Images mounted into containers beside their own; their layers are needed.
    """
    CREATE TABLE image_mounts (
        container_id TEXT NOT NULL,
        image_id TEXT NOT NULL,
        chain_id TEXT,                  -- of the image's top layer; NULL: none
        PRIMARY KEY (container_id, image_id)
    ) STRICT, WITHOUT ROWID;
    """,
    # Plain layers in the compressed form that they were pushed in (store/packing.py).
    """
    CREATE TABLE packed_blobs (
        plain TEXT PRIMARY KEY,
        packed TEXT NOT NULL,
        size_bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    # Layers that builds made, which stay although no image has them.
    """
    CREATE TABLE build_layers (
        chain_id TEXT PRIMARY KEY,
        blob TEXT NOT NULL,
        made_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    # Names that mean an index: the one that they were pulled by, its images for other platforms that are here
    # too, and what else of it was fetched (attestations). A name that moves loses all three.
    """
    CREATE TABLE name_indexes (
        name TEXT PRIMARY KEY REFERENCES image_names ON DELETE CASCADE,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE name_variants (
        name TEXT NOT NULL REFERENCES image_names ON DELETE CASCADE,
        image_id TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        PRIMARY KEY (name, image_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX name_variants_by_image ON name_variants (image_id);
    CREATE TABLE name_blobs (
        name TEXT NOT NULL REFERENCES image_names ON DELETE CASCADE,
        digest TEXT NOT NULL,
        PRIMARY KEY (name, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX name_blobs_by_digest ON name_blobs (digest);
    """,
    # What puts a container's root together: each keeps the storage driver that it was made with.
    "ALTER TABLE snapshots ADD COLUMN driver TEXT NOT NULL DEFAULT 'overlay2'",
)
