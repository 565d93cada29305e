BEGIN TRANSACTION;
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('dim',8);
INSERT INTO "meta" VALUES('encoder','abababababababababababababababababababababababababababababababab');
INSERT INTO "meta" VALUES('next_part',1);
CREATE TABLE parts (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL UNIQUE, n_rows INTEGER NOT NULL);
INSERT INTO "parts" VALUES(0,0,6);
CREATE TABLE removed (first_row INTEGER PRIMARY KEY, n_rows INTEGER NOT NULL);
INSERT INTO "removed" VALUES(2,2);
CREATE TABLE segments (
    row INTEGER PRIMARY KEY, track INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL
);
INSERT INTO "segments" VALUES(0,1,0.0,10.0);
INSERT INTO "segments" VALUES(1,1,5.0,15.0);
INSERT INTO "segments" VALUES(4,3,0.0,10.0);
INSERT INTO "segments" VALUES(5,3,5.0,15.0);
CREATE TABLE skipped (
    path BLOB PRIMARY KEY, reason TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    n_tries INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO "skipped" VALUES(X'6261642E6D7033','not audio',12,34,1);
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL, duration_s REAL NOT NULL,
    title TEXT, artist TEXT, album TEXT, genre TEXT, year TEXT, note TEXT,
    first_row INTEGER NOT NULL UNIQUE, n_rows INTEGER NOT NULL CHECK (n_rows > 0), checksum INTEGER NOT NULL
);
INSERT INTO "tracks" VALUES(1,X'74302E666C6163',1000,1,'hash 0',30.0,'Title 0',NULL,NULL,NULL,NULL,'cut',0,2,313181497);
INSERT INTO "tracks" VALUES(3,X'74322E666C6163',1000,1,'hash 2',30.0,'Title 2',NULL,NULL,NULL,NULL,NULL,4,2,2789573716);
CREATE INDEX tracks_content ON tracks (content_hash);
COMMIT;
PRAGMA application_id = 1164014189;
PRAGMA user_version = 3;
