BEGIN TRANSACTION;
CREATE TABLE artifacts (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    verified INTEGER,       -- NULL: not (yet) read back
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;
INSERT INTO "artifacts" VALUES(1,'peft/adapter.bin',64000,'4c23850424056ed584fad78c6f6c62c24ba7d91212dedb58ec24307bcdc7f716',1);
INSERT INTO "artifacts" VALUES(4,'peft/adapter.bin',64000,'4c23850424056ed584fad78c6f6c62c24ba7d91212dedb58ec24307bcdc7f716',1);
CREATE TABLE checkpoints (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    epoch REAL,
    bytes INTEGER NOT NULL,
    best INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (job, step)
) STRICT, WITHOUT ROWID;
INSERT INTO "checkpoints" VALUES(1,2,0.5,100,0,'{"loss":2.5}','2026-11-24T02:35:43.409Z');
INSERT INTO "checkpoints" VALUES(1,4,1.0,100,0,'{"val_loss":1.5,"val_accuracy":0.5,"loss":1.25}','2026-11-24T02:35:43.433Z');
INSERT INTO "checkpoints" VALUES(2,2,2.0e-05,100,0,'{"loss":2.5}','2026-11-24T02:35:43.765Z');
INSERT INTO "checkpoints" VALUES(2,4,4.0e-05,100,0,'{"loss":1.25}','2026-11-24T02:35:43.793Z');
INSERT INTO "checkpoints" VALUES(2,6,6.0e-05,100,0,'{"loss":0.833333}','2026-11-24T02:35:43.817Z');
INSERT INTO "checkpoints" VALUES(2,8,8.0e-05,100,0,'{"loss":0.625}','2026-11-24T02:35:43.845Z');
INSERT INTO "checkpoints" VALUES(2,10,0.0001,100,0,'{"loss":0.5}','2026-11-24T02:35:43.869Z');
INSERT INTO "checkpoints" VALUES(2,12,0.00012,100,0,'{"loss":0.416667}','2026-11-24T02:35:43.893Z');
INSERT INTO "checkpoints" VALUES(2,14,0.00014,100,0,'{"loss":0.357143}','2026-11-24T02:35:43.921Z');
INSERT INTO "checkpoints" VALUES(2,16,0.00016,100,0,'{"loss":0.3125}','2026-11-24T02:35:43.956Z');
INSERT INTO "checkpoints" VALUES(2,18,0.00018,100,0,'{"loss":0.277778}','2026-11-24T02:35:43.992Z');
INSERT INTO "checkpoints" VALUES(2,20,0.0002,100,0,'{"loss":0.25}','2026-11-24T02:35:44.021Z');
INSERT INTO "checkpoints" VALUES(2,22,0.00022,100,0,'{"loss":0.227273}','2026-11-24T02:35:44.057Z');
INSERT INTO "checkpoints" VALUES(2,24,0.00024,100,0,'{"loss":0.208333}','2026-11-24T02:35:44.089Z');
INSERT INTO "checkpoints" VALUES(2,26,0.00026,100,0,'{"loss":0.192308}','2026-11-24T02:35:44.117Z');
INSERT INTO "checkpoints" VALUES(2,28,0.00028,100,0,'{"loss":0.178571}','2026-11-24T02:35:44.143Z');
INSERT INTO "checkpoints" VALUES(2,30,0.0003,100,0,'{"loss":0.166667}','2026-11-24T02:35:44.170Z');
INSERT INTO "checkpoints" VALUES(2,32,0.00032,100,0,'{"loss":0.15625}','2026-11-24T02:35:44.201Z');
INSERT INTO "checkpoints" VALUES(2,34,0.00034,100,0,'{"loss":0.147059}','2026-11-24T02:35:44.230Z');
INSERT INTO "checkpoints" VALUES(2,36,0.00036,100,0,'{"loss":0.138889}','2026-11-24T02:35:44.263Z');
INSERT INTO "checkpoints" VALUES(2,38,0.00038,100,0,'{"loss":0.131579}','2026-11-24T02:35:44.286Z');
INSERT INTO "checkpoints" VALUES(2,40,0.0004,100,0,'{"loss":0.125}','2026-11-24T02:35:44.313Z');
INSERT INTO "checkpoints" VALUES(2,42,0.00042,100,0,'{"loss":0.119048}','2026-11-24T02:35:44.341Z');
INSERT INTO "checkpoints" VALUES(2,44,0.00044,100,0,'{"loss":0.113636}','2026-11-24T02:35:44.362Z');
INSERT INTO "checkpoints" VALUES(2,46,0.00046,100,0,'{"loss":0.108696}','2026-11-24T02:35:44.397Z');
INSERT INTO "checkpoints" VALUES(2,48,0.00048,100,0,'{"loss":0.104167}','2026-11-24T02:35:44.425Z');
INSERT INTO "checkpoints" VALUES(2,50,0.0005,100,0,'{"loss":0.1}','2026-11-24T02:35:44.449Z');
INSERT INTO "checkpoints" VALUES(2,52,0.00052,100,0,'{"loss":0.096154}','2026-11-24T02:35:44.477Z');
INSERT INTO "checkpoints" VALUES(2,54,0.00054,100,0,'{"loss":0.092593}','2026-11-24T02:35:44.505Z');
INSERT INTO "checkpoints" VALUES(2,56,0.00056,100,0,'{"loss":0.089286}','2026-11-24T02:35:44.530Z');
INSERT INTO "checkpoints" VALUES(2,58,0.00058,100,0,'{"loss":0.086207}','2026-11-24T02:35:44.565Z');
INSERT INTO "checkpoints" VALUES(2,60,0.0006,100,0,'{"loss":0.083333}','2026-11-24T02:35:44.593Z');
INSERT INTO "checkpoints" VALUES(2,62,0.00062,100,0,'{"loss":0.080645}','2026-11-24T02:35:44.625Z');
INSERT INTO "checkpoints" VALUES(2,64,0.00064,100,0,'{"loss":0.078125}','2026-11-24T02:35:44.648Z');
INSERT INTO "checkpoints" VALUES(2,66,0.00066,100,0,'{"loss":0.075758}','2026-11-24T02:35:44.677Z');
INSERT INTO "checkpoints" VALUES(2,68,0.00068,100,0,'{"loss":0.073529}','2026-11-24T02:35:44.698Z');
INSERT INTO "checkpoints" VALUES(2,70,0.0007,100,0,'{"loss":0.071429}','2026-11-24T02:35:44.725Z');
INSERT INTO "checkpoints" VALUES(2,72,0.00072,100,0,'{"loss":0.069444}','2026-11-24T02:35:44.757Z');
INSERT INTO "checkpoints" VALUES(2,74,0.00074,100,0,'{"loss":0.067568}','2026-11-24T02:35:44.783Z');
INSERT INTO "checkpoints" VALUES(4,2,0.5,100,0,'{"loss":2.5}','2026-11-24T02:35:45.129Z');
INSERT INTO "checkpoints" VALUES(4,4,1.0,100,0,'{"val_loss":1.5,"val_accuracy":0.5,"loss":1.25}','2026-11-24T02:35:45.161Z');
CREATE TABLE "datasets" (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL DEFAULT '', -- as in jobs
    name TEXT NOT NULL,
    format TEXT NOT NULL,
    columns TEXT NOT NULL,
    tasks TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    dropped INTEGER NOT NULL,
    on_error TEXT NOT NULL,
    warnings TEXT NOT NULL,
    created_at TEXT NOT NULL,
    provisional INTEGER NOT NULL DEFAULT 0, problem TEXT, label_count INTEGER, labels TEXT NOT NULL DEFAULT 'null', corrected_from TEXT NOT NULL DEFAULT 'null',
    UNIQUE (owner, sha256, format, columns, on_error) -- the same upload twice is the same data set
) STRICT;
INSERT INTO "datasets" VALUES(1,'ds_h6skp74kzjuws5id','','d','jsonl','{"text":"text"}','["generation"]',1,30,'51c649cc08c7b6c015b4c723d5501695e2015908480b6281c54ab00ed3e55c59',0,'refuse','[]','2026-11-24T02:35:43.325Z',0,'single_label',2,'[{"label":"bad","rows":4},{"label":"good","rows":4}]','null');
INSERT INTO "datasets" VALUES(2,'ds_k7sobfkoq5eebfd3','','d','jsonl','{"text":"text"}','["generation"]',1,49,'ef76edcb90d4359e6aaa47fa4068d772b7d70b5516be8dea895debdd898d9783',0,'refuse','[]','2026-11-24T02:35:43.521Z',0,NULL,NULL,'null','null');
INSERT INTO "datasets" VALUES(3,'ds_b2bf5f7kbyhoiupw','','d','jsonl','{"text":"text"}','["generation"]',1,36,'3e598f25fccc58360d82e79400d0db4f0c263a9694dd753be9b19c734ee34e97',0,'refuse','[]','2026-11-24T02:35:43.573Z',0,NULL,NULL,'null','null');
INSERT INTO "datasets" VALUES(4,'ds_bmw7kuateajsrjj7','','d','jsonl','{"text":"text"}','["generation"]',1,35,'1f22f268184806c7138963e827eb90625dc6f8b56eeb90a8b5937977e6ee77b8',0,'refuse','[]','2026-11-24T02:35:43.661Z',0,NULL,NULL,'null','null');
INSERT INTO "datasets" VALUES(5,'ds_corrected5aaaaaa','','d, corrected','jsonl','{"text":"text"}','["generation"]',1,34,'d66e4ff8f4ba2a4cbd2b9c96b4cf0f0bfbf7ce7ab09de7acfc9c3acbc5a0c3a3',0,'refuse','[]','2026-11-28T02:00:00.000Z',0,NULL,NULL,'null','{"changes":[{"excluded":true,"line":2}],"dataset":"ds_h6skp74kzjuws5id","excluded":1,"relabelled":0,"sha256":"51c649cc08c7b6c015b4c723d5501695e2015908480b6281c54ab00ed3e55c59"}');
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES(1,1,'2026-11-24T02:35:43.331Z','queued','{}');
INSERT INTO "events" VALUES(1,2,'2026-11-24T02:35:43.331Z','warning','{"code":"fake","message":"nothing is learned"}');
INSERT INTO "events" VALUES(1,3,'2026-11-24T02:35:43.337Z','claimed','{"attempt":1}');
INSERT INTO "events" VALUES(1,4,'2026-11-24T02:35:43.385Z','started','{"attempt":1,"pid":29856,"build":"fake","kernels":"none","threads":2}');
INSERT INTO "events" VALUES(1,5,'2026-11-24T02:35:43.385Z','plan','{"peak_bytes":1000,"steps":4,"rows":1,"dropped":0,"truncated":0,"tokens":5,"target_tokens":5}');
INSERT INTO "events" VALUES(1,6,'2026-11-24T02:35:43.385Z','eval','{"step":0,"rows":1,"seconds":0.1,"best":true,"val_loss":5.0}');
INSERT INTO "events" VALUES(1,7,'2026-11-24T02:35:43.395Z','step','{"step":1,"epoch":0.25,"loss":5.0,"learning_rate":0.001,"grad_norm":1.0,"tokens":5,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(1,8,'2026-11-24T02:35:43.406Z','step','{"step":2,"epoch":0.5,"loss":2.5,"learning_rate":0.001,"grad_norm":1.0,"tokens":10,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(1,9,'2026-11-24T02:35:43.409Z','checkpoint','{"step":2,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(1,10,'2026-11-24T02:35:43.419Z','step','{"step":3,"epoch":0.75,"loss":1.666667,"learning_rate":0.001,"grad_norm":1.0,"tokens":15,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(1,11,'2026-11-24T02:35:43.429Z','step','{"step":4,"epoch":1.0,"loss":1.25,"learning_rate":0.001,"grad_norm":1.0,"tokens":20,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(1,12,'2026-11-24T02:35:43.430Z','eval','{"step":4,"rows":1,"seconds":0.1,"best":true,"val_loss":1.5,"val_accuracy":0.5}');
INSERT INTO "events" VALUES(1,13,'2026-11-24T02:35:43.433Z','checkpoint','{"step":4,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(1,14,'2026-11-24T02:35:43.434Z','verified','{"artifact":"peft","base_sha256":"x","rows":1,"max_abs_logit_diff":0.0,"passed":true}');
INSERT INTO "events" VALUES(1,15,'2026-11-24T02:35:43.434Z','artifact','{"path":"peft/adapter.bin","size":64000,"sha256":"4c23850424056ed584fad78c6f6c62c24ba7d91212dedb58ec24307bcdc7f716"}');
INSERT INTO "events" VALUES(1,16,'2026-11-24T02:35:43.434Z','finished','{"step":4,"reason":"completed","best":{"step":4},"exported_step":4,"seconds":1.0}');
INSERT INTO "events" VALUES(1,17,'2026-11-24T02:35:43.456Z','succeeded','{}');
INSERT INTO "events" VALUES(2,1,'2026-11-24T02:35:43.549Z','queued','{}');
INSERT INTO "events" VALUES(2,2,'2026-11-24T02:35:43.549Z','warning','{"code":"fake","message":"nothing is learned"}');
INSERT INTO "events" VALUES(2,3,'2026-11-24T02:35:43.550Z','claimed','{"attempt":1}');
INSERT INTO "events" VALUES(2,4,'2026-11-24T02:35:43.731Z','started','{"attempt":1,"pid":29861,"build":"fake","kernels":"none","threads":2}');
INSERT INTO "events" VALUES(2,5,'2026-11-24T02:35:43.731Z','plan','{"peak_bytes":1000,"steps":100000,"rows":1,"dropped":0,"truncated":0,"tokens":5,"target_tokens":5}');
INSERT INTO "events" VALUES(2,6,'2026-11-24T02:35:43.731Z','eval','{"step":0,"rows":1,"seconds":0.1,"best":true,"val_loss":5.0}');
INSERT INTO "events" VALUES(2,7,'2026-11-24T02:35:43.749Z','step','{"step":1,"epoch":1e-5,"loss":5.0,"learning_rate":0.001,"grad_norm":1.0,"tokens":5,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,8,'2026-11-24T02:35:43.759Z','step','{"step":2,"epoch":2e-5,"loss":2.5,"learning_rate":0.001,"grad_norm":1.0,"tokens":10,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,9,'2026-11-24T02:35:43.765Z','checkpoint','{"step":2,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,10,'2026-11-24T02:35:43.775Z','step','{"step":3,"epoch":3e-5,"loss":1.666667,"learning_rate":0.001,"grad_norm":1.0,"tokens":15,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,11,'2026-11-24T02:35:43.788Z','step','{"step":4,"epoch":4e-5,"loss":1.25,"learning_rate":0.001,"grad_norm":1.0,"tokens":20,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,12,'2026-11-24T02:35:43.793Z','checkpoint','{"step":4,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,13,'2026-11-24T02:35:43.803Z','step','{"step":5,"epoch":5e-5,"loss":1.0,"learning_rate":0.001,"grad_norm":1.0,"tokens":25,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,14,'2026-11-24T02:35:43.813Z','step','{"step":6,"epoch":6e-5,"loss":0.833333,"learning_rate":0.001,"grad_norm":1.0,"tokens":30,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,15,'2026-11-24T02:35:43.817Z','checkpoint','{"step":6,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,16,'2026-11-24T02:35:43.827Z','step','{"step":7,"epoch":7e-5,"loss":0.714286,"learning_rate":0.001,"grad_norm":1.0,"tokens":35,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,17,'2026-11-24T02:35:43.840Z','step','{"step":8,"epoch":8e-5,"loss":0.625,"learning_rate":0.001,"grad_norm":1.0,"tokens":40,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,18,'2026-11-24T02:35:43.845Z','checkpoint','{"step":8,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,19,'2026-11-24T02:35:43.855Z','step','{"step":9,"epoch":9e-5,"loss":0.555556,"learning_rate":0.001,"grad_norm":1.0,"tokens":45,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,20,'2026-11-24T02:35:43.865Z','step','{"step":10,"epoch":0.0001,"loss":0.5,"learning_rate":0.001,"grad_norm":1.0,"tokens":50,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,21,'2026-11-24T02:35:43.869Z','checkpoint','{"step":10,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,22,'2026-11-24T02:35:43.879Z','step','{"step":11,"epoch":0.00011,"loss":0.454545,"learning_rate":0.001,"grad_norm":1.0,"tokens":55,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,23,'2026-11-24T02:35:43.889Z','step','{"step":12,"epoch":0.00012,"loss":0.416667,"learning_rate":0.001,"grad_norm":1.0,"tokens":60,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,24,'2026-11-24T02:35:43.893Z','checkpoint','{"step":12,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,25,'2026-11-24T02:35:43.903Z','step','{"step":13,"epoch":0.00013,"loss":0.384615,"learning_rate":0.001,"grad_norm":1.0,"tokens":65,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,26,'2026-11-24T02:35:43.916Z','step','{"step":14,"epoch":0.00014,"loss":0.357143,"learning_rate":0.001,"grad_norm":1.0,"tokens":70,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,27,'2026-11-24T02:35:43.921Z','checkpoint','{"step":14,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,28,'2026-11-24T02:35:43.931Z','step','{"step":15,"epoch":0.00015,"loss":0.333333,"learning_rate":0.001,"grad_norm":1.0,"tokens":75,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,29,'2026-11-24T02:35:43.953Z','step','{"step":16,"epoch":0.00016,"loss":0.3125,"learning_rate":0.001,"grad_norm":1.0,"tokens":80,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,30,'2026-11-24T02:35:43.956Z','checkpoint','{"step":16,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,31,'2026-11-24T02:35:43.967Z','step','{"step":17,"epoch":0.00017,"loss":0.294118,"learning_rate":0.001,"grad_norm":1.0,"tokens":85,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,32,'2026-11-24T02:35:43.981Z','step','{"step":18,"epoch":0.00018,"loss":0.277778,"learning_rate":0.001,"grad_norm":1.0,"tokens":90,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,33,'2026-11-24T02:35:43.992Z','checkpoint','{"step":18,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,34,'2026-11-24T02:35:44.005Z','step','{"step":19,"epoch":0.00019,"loss":0.263158,"learning_rate":0.001,"grad_norm":1.0,"tokens":95,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,35,'2026-11-24T02:35:44.017Z','step','{"step":20,"epoch":0.0002,"loss":0.25,"learning_rate":0.001,"grad_norm":1.0,"tokens":100,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,36,'2026-11-24T02:35:44.021Z','checkpoint','{"step":20,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,37,'2026-11-24T02:35:44.037Z','step','{"step":21,"epoch":0.00021,"loss":0.238095,"learning_rate":0.001,"grad_norm":1.0,"tokens":105,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,38,'2026-11-24T02:35:44.047Z','step','{"step":22,"epoch":0.00022,"loss":0.227273,"learning_rate":0.001,"grad_norm":1.0,"tokens":110,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,39,'2026-11-24T02:35:44.057Z','checkpoint','{"step":22,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,40,'2026-11-24T02:35:44.067Z','step','{"step":23,"epoch":0.00023,"loss":0.217391,"learning_rate":0.001,"grad_norm":1.0,"tokens":115,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,41,'2026-11-24T02:35:44.078Z','step','{"step":24,"epoch":0.00024,"loss":0.208333,"learning_rate":0.001,"grad_norm":1.0,"tokens":120,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,42,'2026-11-24T02:35:44.089Z','checkpoint','{"step":24,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,43,'2026-11-24T02:35:44.099Z','step','{"step":25,"epoch":0.00025,"loss":0.2,"learning_rate":0.001,"grad_norm":1.0,"tokens":125,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,44,'2026-11-24T02:35:44.110Z','step','{"step":26,"epoch":0.00026,"loss":0.192308,"learning_rate":0.001,"grad_norm":1.0,"tokens":130,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,45,'2026-11-24T02:35:44.117Z','checkpoint','{"step":26,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,46,'2026-11-24T02:35:44.129Z','step','{"step":27,"epoch":0.00027,"loss":0.185185,"learning_rate":0.001,"grad_norm":1.0,"tokens":135,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,47,'2026-11-24T02:35:44.139Z','step','{"step":28,"epoch":0.00028,"loss":0.178571,"learning_rate":0.001,"grad_norm":1.0,"tokens":140,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,48,'2026-11-24T02:35:44.143Z','checkpoint','{"step":28,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,49,'2026-11-24T02:35:44.157Z','step','{"step":29,"epoch":0.00029,"loss":0.172414,"learning_rate":0.001,"grad_norm":1.0,"tokens":145,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,50,'2026-11-24T02:35:44.167Z','step','{"step":30,"epoch":0.0003,"loss":0.166667,"learning_rate":0.001,"grad_norm":1.0,"tokens":150,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,51,'2026-11-24T02:35:44.170Z','checkpoint','{"step":30,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,52,'2026-11-24T02:35:44.185Z','step','{"step":31,"epoch":0.00031,"loss":0.16129,"learning_rate":0.001,"grad_norm":1.0,"tokens":155,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,53,'2026-11-24T02:35:44.197Z','step','{"step":32,"epoch":0.00032,"loss":0.15625,"learning_rate":0.001,"grad_norm":1.0,"tokens":160,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,54,'2026-11-24T02:35:44.201Z','checkpoint','{"step":32,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,55,'2026-11-24T02:35:44.217Z','step','{"step":33,"epoch":0.00033,"loss":0.151515,"learning_rate":0.001,"grad_norm":1.0,"tokens":165,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,56,'2026-11-24T02:35:44.227Z','step','{"step":34,"epoch":0.00034,"loss":0.147059,"learning_rate":0.001,"grad_norm":1.0,"tokens":170,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,57,'2026-11-24T02:35:44.230Z','checkpoint','{"step":34,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,58,'2026-11-24T02:35:44.240Z','step','{"step":35,"epoch":0.00035,"loss":0.142857,"learning_rate":0.001,"grad_norm":1.0,"tokens":175,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,59,'2026-11-24T02:35:44.251Z','step','{"step":36,"epoch":0.00036,"loss":0.138889,"learning_rate":0.001,"grad_norm":1.0,"tokens":180,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,60,'2026-11-24T02:35:44.263Z','checkpoint','{"step":36,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,61,'2026-11-24T02:35:44.274Z','step','{"step":37,"epoch":0.00037,"loss":0.135135,"learning_rate":0.001,"grad_norm":1.0,"tokens":185,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,62,'2026-11-24T02:35:44.285Z','step','{"step":38,"epoch":0.00038,"loss":0.131579,"learning_rate":0.001,"grad_norm":1.0,"tokens":190,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,63,'2026-11-24T02:35:44.286Z','checkpoint','{"step":38,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,64,'2026-11-24T02:35:44.301Z','step','{"step":39,"epoch":0.00039,"loss":0.128205,"learning_rate":0.001,"grad_norm":1.0,"tokens":195,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,65,'2026-11-24T02:35:44.311Z','step','{"step":40,"epoch":0.0004,"loss":0.125,"learning_rate":0.001,"grad_norm":1.0,"tokens":200,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,66,'2026-11-24T02:35:44.313Z','checkpoint','{"step":40,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,67,'2026-11-24T02:35:44.323Z','step','{"step":41,"epoch":0.00041,"loss":0.121951,"learning_rate":0.001,"grad_norm":1.0,"tokens":205,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,68,'2026-11-24T02:35:44.333Z','step','{"step":42,"epoch":0.00042,"loss":0.119048,"learning_rate":0.001,"grad_norm":1.0,"tokens":210,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,69,'2026-11-24T02:35:44.341Z','checkpoint','{"step":42,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,70,'2026-11-24T02:35:44.351Z','step','{"step":43,"epoch":0.00043,"loss":0.116279,"learning_rate":0.001,"grad_norm":1.0,"tokens":215,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,71,'2026-11-24T02:35:44.361Z','step','{"step":44,"epoch":0.00044,"loss":0.113636,"learning_rate":0.001,"grad_norm":1.0,"tokens":220,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,72,'2026-11-24T02:35:44.362Z','checkpoint','{"step":44,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,73,'2026-11-24T02:35:44.377Z','step','{"step":45,"epoch":0.00045,"loss":0.111111,"learning_rate":0.001,"grad_norm":1.0,"tokens":225,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,74,'2026-11-24T02:35:44.387Z','step','{"step":46,"epoch":0.00046,"loss":0.108696,"learning_rate":0.001,"grad_norm":1.0,"tokens":230,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,75,'2026-11-24T02:35:44.397Z','checkpoint','{"step":46,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,76,'2026-11-24T02:35:44.407Z','step','{"step":47,"epoch":0.00047,"loss":0.106383,"learning_rate":0.001,"grad_norm":1.0,"tokens":235,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,77,'2026-11-24T02:35:44.419Z','step','{"step":48,"epoch":0.00048,"loss":0.104167,"learning_rate":0.001,"grad_norm":1.0,"tokens":240,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,78,'2026-11-24T02:35:44.425Z','checkpoint','{"step":48,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,79,'2026-11-24T02:35:44.435Z','step','{"step":49,"epoch":0.00049,"loss":0.102041,"learning_rate":0.001,"grad_norm":1.0,"tokens":245,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,80,'2026-11-24T02:35:44.449Z','step','{"step":50,"epoch":0.0005,"loss":0.1,"learning_rate":0.001,"grad_norm":1.0,"tokens":250,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,81,'2026-11-24T02:35:44.449Z','checkpoint','{"step":50,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,82,'2026-11-24T02:35:44.464Z','step','{"step":51,"epoch":0.00051,"loss":0.098039,"learning_rate":0.001,"grad_norm":1.0,"tokens":255,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,83,'2026-11-24T02:35:44.475Z','step','{"step":52,"epoch":0.00052,"loss":0.096154,"learning_rate":0.001,"grad_norm":1.0,"tokens":260,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,84,'2026-11-24T02:35:44.477Z','checkpoint','{"step":52,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,85,'2026-11-24T02:35:44.487Z','step','{"step":53,"epoch":0.00053,"loss":0.09434,"learning_rate":0.001,"grad_norm":1.0,"tokens":265,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,86,'2026-11-24T02:35:44.497Z','step','{"step":54,"epoch":0.00054,"loss":0.092593,"learning_rate":0.001,"grad_norm":1.0,"tokens":270,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,87,'2026-11-24T02:35:44.505Z','checkpoint','{"step":54,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,88,'2026-11-24T02:35:44.515Z','step','{"step":55,"epoch":0.00055,"loss":0.090909,"learning_rate":0.001,"grad_norm":1.0,"tokens":275,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,89,'2026-11-24T02:35:44.528Z','step','{"step":56,"epoch":0.00056,"loss":0.089286,"learning_rate":0.001,"grad_norm":1.0,"tokens":280,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,90,'2026-11-24T02:35:44.530Z','checkpoint','{"step":56,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,91,'2026-11-24T02:35:44.544Z','step','{"step":57,"epoch":0.00057,"loss":0.087719,"learning_rate":0.001,"grad_norm":1.0,"tokens":285,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,92,'2026-11-24T02:35:44.555Z','step','{"step":58,"epoch":0.00058,"loss":0.086207,"learning_rate":0.001,"grad_norm":1.0,"tokens":290,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,93,'2026-11-24T02:35:44.565Z','checkpoint','{"step":58,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,94,'2026-11-24T02:35:44.581Z','step','{"step":59,"epoch":0.00059,"loss":0.084746,"learning_rate":0.001,"grad_norm":1.0,"tokens":295,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,95,'2026-11-24T02:35:44.591Z','step','{"step":60,"epoch":0.0006,"loss":0.083333,"learning_rate":0.001,"grad_norm":1.0,"tokens":300,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,96,'2026-11-24T02:35:44.593Z','checkpoint','{"step":60,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,97,'2026-11-24T02:35:44.609Z','step','{"step":61,"epoch":0.00061,"loss":0.081967,"learning_rate":0.001,"grad_norm":1.0,"tokens":305,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,98,'2026-11-24T02:35:44.619Z','step','{"step":62,"epoch":0.00062,"loss":0.080645,"learning_rate":0.001,"grad_norm":1.0,"tokens":310,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,99,'2026-11-24T02:35:44.625Z','checkpoint','{"step":62,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,100,'2026-11-24T02:35:44.637Z','step','{"step":63,"epoch":0.00063,"loss":0.079365,"learning_rate":0.001,"grad_norm":1.0,"tokens":315,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,101,'2026-11-24T02:35:44.647Z','step','{"step":64,"epoch":0.00064,"loss":0.078125,"learning_rate":0.001,"grad_norm":1.0,"tokens":320,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,102,'2026-11-24T02:35:44.648Z','checkpoint','{"step":64,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,103,'2026-11-24T02:35:44.658Z','step','{"step":65,"epoch":0.00065,"loss":0.076923,"learning_rate":0.001,"grad_norm":1.0,"tokens":325,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,104,'2026-11-24T02:35:44.668Z','step','{"step":66,"epoch":0.00066,"loss":0.075758,"learning_rate":0.001,"grad_norm":1.0,"tokens":330,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,105,'2026-11-24T02:35:44.677Z','checkpoint','{"step":66,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,106,'2026-11-24T02:35:44.687Z','step','{"step":67,"epoch":0.00067,"loss":0.074627,"learning_rate":0.001,"grad_norm":1.0,"tokens":335,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,107,'2026-11-24T02:35:44.697Z','step','{"step":68,"epoch":0.00068,"loss":0.073529,"learning_rate":0.001,"grad_norm":1.0,"tokens":340,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,108,'2026-11-24T02:35:44.698Z','checkpoint','{"step":68,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,109,'2026-11-24T02:35:44.712Z','step','{"step":69,"epoch":0.00069,"loss":0.072464,"learning_rate":0.001,"grad_norm":1.0,"tokens":345,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,110,'2026-11-24T02:35:44.723Z','step','{"step":70,"epoch":0.0007,"loss":0.071429,"learning_rate":0.001,"grad_norm":1.0,"tokens":350,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,111,'2026-11-24T02:35:44.725Z','checkpoint','{"step":70,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,112,'2026-11-24T02:35:44.735Z','step','{"step":71,"epoch":0.00071,"loss":0.070423,"learning_rate":0.001,"grad_norm":1.0,"tokens":355,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,113,'2026-11-24T02:35:44.752Z','step','{"step":72,"epoch":0.00072,"loss":0.069444,"learning_rate":0.001,"grad_norm":1.0,"tokens":360,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,114,'2026-11-24T02:35:44.757Z','checkpoint','{"step":72,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,115,'2026-11-24T02:35:44.767Z','step','{"step":73,"epoch":0.00073,"loss":0.068493,"learning_rate":0.001,"grad_norm":1.0,"tokens":365,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,116,'2026-11-24T02:35:44.781Z','step','{"step":74,"epoch":0.00074,"loss":0.067568,"learning_rate":0.001,"grad_norm":1.0,"tokens":370,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(2,117,'2026-11-24T02:35:44.783Z','checkpoint','{"step":74,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(2,118,'2026-11-24T02:35:44.784Z','interrupted','{"step":74,"reason":"signal"}');
INSERT INTO "events" VALUES(2,119,'2026-11-24T02:35:44.845Z','paused','{}');
INSERT INTO "events" VALUES(3,1,'2026-11-24T02:35:43.592Z','queued','{}');
INSERT INTO "events" VALUES(3,2,'2026-11-24T02:35:43.592Z','warning','{"code":"fake","message":"nothing is learned"}');
INSERT INTO "events" VALUES(3,3,'2026-11-24T02:35:43.609Z','cancelled','{}');
INSERT INTO "events" VALUES(4,1,'2026-11-24T02:35:43.717Z','queued','{}');
INSERT INTO "events" VALUES(4,2,'2026-11-24T02:35:43.717Z','warning','{"code":"fake","message":"nothing is learned"}');
INSERT INTO "events" VALUES(4,3,'2026-11-24T02:35:44.861Z','claimed','{"attempt":1}');
INSERT INTO "events" VALUES(4,4,'2026-11-24T02:35:45.096Z','started','{"attempt":1,"pid":29865,"build":"fake","kernels":"none","threads":2}');
INSERT INTO "events" VALUES(4,5,'2026-11-24T02:35:45.096Z','plan','{"peak_bytes":1000,"steps":4,"rows":1,"dropped":0,"truncated":0,"tokens":5,"target_tokens":5}');
INSERT INTO "events" VALUES(4,6,'2026-11-24T02:35:45.096Z','eval','{"step":0,"rows":1,"seconds":0.1,"best":true,"val_loss":5.0}');
INSERT INTO "events" VALUES(4,7,'2026-11-24T02:35:45.112Z','step','{"step":1,"epoch":0.25,"loss":5.0,"learning_rate":0.001,"grad_norm":1.0,"tokens":5,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(4,8,'2026-11-24T02:35:45.123Z','step','{"step":2,"epoch":0.5,"loss":2.5,"learning_rate":0.001,"grad_norm":1.0,"tokens":10,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(4,9,'2026-11-24T02:35:45.129Z','checkpoint','{"step":2,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(4,10,'2026-11-24T02:35:45.140Z','step','{"step":3,"epoch":0.75,"loss":1.666667,"learning_rate":0.001,"grad_norm":1.0,"tokens":15,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(4,11,'2026-11-24T02:35:45.150Z','step','{"step":4,"epoch":1.0,"loss":1.25,"learning_rate":0.001,"grad_norm":1.0,"tokens":20,"target_tokens":5,"tokens_per_second":100.0,"seconds":0.01}');
INSERT INTO "events" VALUES(4,12,'2026-11-24T02:35:45.150Z','eval','{"step":4,"rows":1,"seconds":0.1,"best":true,"val_loss":1.5,"val_accuracy":0.5}');
INSERT INTO "events" VALUES(4,13,'2026-11-24T02:35:45.161Z','checkpoint','{"step":4,"bytes":100,"best":false}');
INSERT INTO "events" VALUES(4,14,'2026-11-24T02:35:45.162Z','verified','{"artifact":"peft","base_sha256":"x","rows":1,"max_abs_logit_diff":0.0,"passed":true}');
INSERT INTO "events" VALUES(4,15,'2026-11-24T02:35:45.162Z','artifact','{"path":"peft/adapter.bin","size":64000,"sha256":"4c23850424056ed584fad78c6f6c62c24ba7d91212dedb58ec24307bcdc7f716"}');
INSERT INTO "events" VALUES(4,16,'2026-11-24T02:35:45.162Z','finished','{"step":4,"reason":"completed","best":{"step":4},"exported_step":4,"seconds":1.0}');
INSERT INTO "events" VALUES(4,17,'2026-11-24T02:35:45.183Z','succeeded','{}');
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,     -- sha256 of the canonical request
    job TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
CREATE TABLE jobs (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,    -- key id, '' without keys
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    requested TEXT,
    reason_code TEXT,
    reason_message TEXT,
    task TEXT NOT NULL,
    method TEXT NOT NULL,
    model TEXT NOT NULL,
    dataset TEXT NOT NULL,
    validation_dataset TEXT,
    validation TEXT,
    request TEXT NOT NULL,
    hyperparameters TEXT NOT NULL,
    auto_why TEXT NOT NULL,
    counts TEXT NOT NULL,
    plan TEXT NOT NULL,
    run TEXT NOT NULL,      -- spec.json's parts, as the helper resolved them
    host TEXT NOT NULL,
    metadata TEXT NOT NULL,
    priority INTEGER NOT NULL,
    peak_bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,          -- since the last new checkpoint
    not_before INTEGER NOT NULL DEFAULT 0,      -- milliseconds since 1970
    blocked_since INTEGER NOT NULL DEFAULT 0,   -- since when it is first in line and does not fit
    ingested_bytes INTEGER NOT NULL DEFAULT 0,  -- of events.jsonl; moves in the transaction of the events themselves
    ingested_n INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1,
    next_metric INTEGER NOT NULL DEFAULT 1,
    verdict TEXT,           -- type of the trainer's last event of this attempt
    verdict_data TEXT,
    step INTEGER NOT NULL DEFAULT 0,
    total_steps INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    epoch REAL,
    tokens_per_second REAL,
    step_seconds REAL,
    loss REAL,
    val_loss REAL,
    best TEXT,
    kernels TEXT,
    verification TEXT NOT NULL DEFAULT '[]',
    exported_step INTEGER,
    checkpoint_step INTEGER,
    checkpoint_bytes INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
, test_dataset TEXT, test TEXT, datasets TEXT, verifies TEXT, problem TEXT, label_count INTEGER, labels TEXT, warnings TEXT, stop_at INTEGER, sweep TEXT, fit TEXT, notice TEXT) STRICT;
INSERT INTO "jobs" VALUES(1,'job_pf7zcnumyl7hqr5f',NULL,'','succeeded',NULL,NULL,NULL,'generation','lora','base','ds_h6skp74kzjuws5id',NULL,'null','{"model":"base","dataset":"ds_h6skp74kzjuws5id"}','{"epochs":1.0,"max_steps":4,"learning_rate":0.001,"metric_for_best":"val_loss"}','{"learning_rate":"because"}','{"rows":1,"used":1,"dropped":0,"truncated":0,"target_tokens":5}','{"peak_bytes":1000,"micro_batch_tokens":16,"recompute":false}','{"task":"generation","method":"lora","model":{"sha256":"1eec943f3fbf69947176e7c711415ad88a08184169f72cd31dca0ab071e14939","file":"inputs/model.gguf"},"train":{"format":"jsonl","columns":{"text":"text"},"sha256":"51c649cc08c7b6c015b4c723d5501695e2015908480b6281c54ab00ed3e55c59","file":"inputs/train"},"validation":null,"hyperparameters":{"max_steps":4}}','{"threads":null,"memory_bytes":20221208164,"save_every":2}','{}',0,1000,1,0,0,0,2326,13,18,7,'finished','{"step":4,"reason":"completed","best":{"step":4},"exported_step":4,"seconds":1.0}',4,4,20,1.0,100.0,1.00000000000000019428e-02,1.25,1.5,'{"step":4,"metric":"val_loss","value":1.5}','none','[{"artifact":"peft","base_sha256":"x","rows":1,"max_abs_logit_diff":0.0,"passed":true}]',4,4,100,'2026-11-24T02:35:43.331Z','2026-11-24T02:35:43.337Z','2026-11-24T02:35:43.456Z',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'swp_aaaaaaaaaaaaaaaa','{"step":40,"verdict":"good","health":"good","summary":"A good fit.","best_step":40,"provisional":false}','{"id":"evt_aaaaaaaaaaaaaaaa","type":"job.succeeded","state":"waiting","attempts":0,"status":null,"message":null,"time":null}');
INSERT INTO "jobs" VALUES(2,'job_uk2xkleckv7jwbvo','second','','paused',NULL,NULL,NULL,'generation','lora','base','ds_k7sobfkoq5eebfd3',NULL,'null','{"model":"base","dataset":"ds_k7sobfkoq5eebfd3","name":"second","metadata":{"team":"a"}}','{"epochs":1.0,"max_steps":100000,"learning_rate":0.001,"metric_for_best":"val_loss"}','{"learning_rate":"because"}','{"rows":1,"used":1,"dropped":0,"truncated":0,"target_tokens":5}','{"peak_bytes":1000,"micro_batch_tokens":16,"recompute":false}','{"task":"generation","method":"lora","model":{"sha256":"1eec943f3fbf69947176e7c711415ad88a08184169f72cd31dca0ab071e14939","file":"inputs/model.gguf"},"train":{"format":"jsonl","columns":{"text":"text"},"sha256":"ef76edcb90d4359e6aaa47fa4068d772b7d70b5516be8dea895debdd898d9783","file":"inputs/train"},"validation":null,"hyperparameters":{"max_steps":100000}}','{"threads":null,"memory_bytes":20221208164,"save_every":2}','{"team":"a"}',0,1000,1,0,0,0,22799,115,120,76,'interrupted','{"step":74,"reason":"signal"}',74,100000,370,0.00074,100.0,1.00000000000000019428e-02,0.067568,5.0,'{"step":0,"metric":"val_loss","value":5.0}','none','[]',NULL,74,100,'2026-11-24T02:35:43.549Z','2026-11-24T02:35:43.550Z',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(3,'job_fze2mxppq6d5ytp3',NULL,'','cancelled',NULL,NULL,NULL,'generation','lora','base','ds_b2bf5f7kbyhoiupw',NULL,'null','{"model":"base","dataset":"ds_b2bf5f7kbyhoiupw","priority":5}','{"epochs":1.0,"max_steps":4,"learning_rate":0.001,"metric_for_best":"val_loss"}','{"learning_rate":"because"}','{"rows":1,"used":1,"dropped":0,"truncated":0,"target_tokens":5}','{"peak_bytes":1000,"micro_batch_tokens":16,"recompute":false}','{"task":"generation","method":"lora","model":{"sha256":"1eec943f3fbf69947176e7c711415ad88a08184169f72cd31dca0ab071e14939","file":"inputs/model.gguf"},"train":{"format":"jsonl","columns":{"text":"text"},"sha256":"3e598f25fccc58360d82e79400d0db4f0c263a9694dd753be9b19c734ee34e97","file":"inputs/train"},"validation":null,"hyperparameters":{"max_steps":4}}','{"threads":null,"memory_bytes":20221208164,"save_every":2}','{}',5,1000,0,0,0,0,0,0,4,1,NULL,NULL,0,4,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[]',NULL,NULL,0,'2026-11-24T02:35:43.592Z',NULL,'2026-11-24T02:35:43.608Z',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(4,'job_v32gjogok3cvf4uu',NULL,'','succeeded',NULL,NULL,NULL,'generation','lora','base','ds_bmw7kuateajsrjj7',NULL,'null','{"model":"base","dataset":"ds_bmw7kuateajsrjj7"}','{"epochs":1.0,"max_steps":4,"learning_rate":0.001,"metric_for_best":"val_loss"}','{"learning_rate":"because"}','{"rows":1,"used":1,"dropped":0,"truncated":0,"target_tokens":5}','{"peak_bytes":1000,"micro_batch_tokens":16,"recompute":false}','{"task":"generation","method":"lora","model":{"sha256":"1eec943f3fbf69947176e7c711415ad88a08184169f72cd31dca0ab071e14939","file":"inputs/model.gguf"},"train":{"format":"jsonl","columns":{"text":"text"},"sha256":"1f22f268184806c7138963e827eb90625dc6f8b56eeb90a8b5937977e6ee77b8","file":"inputs/train"},"validation":null,"hyperparameters":{"max_steps":4}}','{"threads":null,"memory_bytes":20221208164,"save_every":2}','{}',0,1000,1,0,0,0,2326,13,18,7,'finished','{"step":4,"reason":"completed","best":{"step":4},"exported_step":4,"seconds":1.0}',4,4,20,1.0,100.0,1.00000000000000019428e-02,1.25,1.5,'{"step":4,"metric":"val_loss","value":1.5}','none','[{"artifact":"peft","base_sha256":"x","rows":1,"max_abs_logit_diff":0.0,"passed":true}]',4,4,100,'2026-11-24T02:35:43.701Z','2026-11-24T02:35:44.861Z','2026-11-24T02:35:45.183Z',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'submit', 'admin')),
    hash TEXT NOT NULL UNIQUE, -- sha256 of the secret; the secret itself is shown once and kept nowhere
    created_at TEXT NOT NULL,
    revoked_at TEXT
, see TEXT NOT NULL DEFAULT 'all' CHECK (see IN ('own', 'all')), team TEXT NOT NULL DEFAULT '', expires_at TEXT, max_bytes INTEGER, max_queued INTEGER, max_running INTEGER) STRICT;
CREATE TABLE metric_levels (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    level INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    min_seq INTEGER NOT NULL,
    min_loss REAL NOT NULL,
    max_seq INTEGER NOT NULL,
    max_loss REAL NOT NULL,
    PRIMARY KEY (job, level, bucket)
) STRICT, WITHOUT ROWID;
INSERT INTO "metric_levels" VALUES(1,1,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,2,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,3,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,4,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,5,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,6,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(1,7,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(2,1,0,8,0.714286,2,5.0);
INSERT INTO "metric_levels" VALUES(2,1,1,16,0.333333,9,0.625);
INSERT INTO "metric_levels" VALUES(2,1,2,24,0.217391,17,0.3125);
INSERT INTO "metric_levels" VALUES(2,1,3,32,0.16129,25,0.208333);
INSERT INTO "metric_levels" VALUES(2,1,4,40,0.128205,33,0.15625);
INSERT INTO "metric_levels" VALUES(2,1,5,48,0.106383,41,0.125);
INSERT INTO "metric_levels" VALUES(2,1,6,56,0.090909,49,0.104167);
INSERT INTO "metric_levels" VALUES(2,1,7,64,0.079365,57,0.089286);
INSERT INTO "metric_levels" VALUES(2,1,8,72,0.070423,65,0.078125);
INSERT INTO "metric_levels" VALUES(2,1,9,75,0.067568,73,0.069444);
INSERT INTO "metric_levels" VALUES(2,2,0,64,0.079365,2,5.0);
INSERT INTO "metric_levels" VALUES(2,2,1,75,0.067568,65,0.078125);
INSERT INTO "metric_levels" VALUES(2,3,0,75,0.067568,2,5.0);
INSERT INTO "metric_levels" VALUES(2,4,0,75,0.067568,2,5.0);
INSERT INTO "metric_levels" VALUES(2,5,0,75,0.067568,2,5.0);
INSERT INTO "metric_levels" VALUES(2,6,0,75,0.067568,2,5.0);
INSERT INTO "metric_levels" VALUES(2,7,0,75,0.067568,2,5.0);
INSERT INTO "metric_levels" VALUES(4,1,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,2,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,3,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,4,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,5,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,6,0,5,1.25,2,5.0);
INSERT INTO "metric_levels" VALUES(4,7,0,5,1.25,2,5.0);
CREATE TABLE metrics (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step INTEGER NOT NULL,
    epoch REAL,
    tokens INTEGER,
    loss REAL,
    learning_rate REAL,
    grad_norm REAL,
    tokens_per_second REAL,
    val TEXT,               -- {"val_loss":…} of an evaluation, NULL in a training row
    time TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "metrics" VALUES(1,1,0,0.0,0,NULL,NULL,NULL,NULL,'{"val_loss":5.0}','2026-11-24T02:35:43.385Z');
INSERT INTO "metrics" VALUES(1,2,1,0.25,5,5.0,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.395Z');
INSERT INTO "metrics" VALUES(1,3,2,0.5,10,2.5,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.406Z');
INSERT INTO "metrics" VALUES(1,4,3,0.75,15,1.666667,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.419Z');
INSERT INTO "metrics" VALUES(1,5,4,1.0,20,1.25,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.429Z');
INSERT INTO "metrics" VALUES(1,6,4,1.0,20,NULL,NULL,NULL,NULL,'{"val_loss":1.5,"val_accuracy":0.5}','2026-11-24T02:35:43.430Z');
INSERT INTO "metrics" VALUES(2,1,0,0.0,0,NULL,NULL,NULL,NULL,'{"val_loss":5.0}','2026-11-24T02:35:43.731Z');
INSERT INTO "metrics" VALUES(2,2,1,1.0e-05,5,5.0,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.749Z');
INSERT INTO "metrics" VALUES(2,3,2,2.0e-05,10,2.5,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.759Z');
INSERT INTO "metrics" VALUES(2,4,3,3.0e-05,15,1.666667,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.775Z');
INSERT INTO "metrics" VALUES(2,5,4,4.0e-05,20,1.25,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.788Z');
INSERT INTO "metrics" VALUES(2,6,5,5.0e-05,25,1.0,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.803Z');
INSERT INTO "metrics" VALUES(2,7,6,6.0e-05,30,0.833333,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.813Z');
INSERT INTO "metrics" VALUES(2,8,7,7.0e-05,35,0.714286,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.827Z');
INSERT INTO "metrics" VALUES(2,9,8,8.0e-05,40,0.625,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.840Z');
INSERT INTO "metrics" VALUES(2,10,9,9.0e-05,45,0.555556,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.855Z');
INSERT INTO "metrics" VALUES(2,11,10,0.0001,50,0.5,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.865Z');
INSERT INTO "metrics" VALUES(2,12,11,0.00011,55,0.454545,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.879Z');
INSERT INTO "metrics" VALUES(2,13,12,0.00012,60,0.416667,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.889Z');
INSERT INTO "metrics" VALUES(2,14,13,0.00013,65,0.384615,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.903Z');
INSERT INTO "metrics" VALUES(2,15,14,0.00014,70,0.357143,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.916Z');
INSERT INTO "metrics" VALUES(2,16,15,0.00015,75,0.333333,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.931Z');
INSERT INTO "metrics" VALUES(2,17,16,0.00016,80,0.3125,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.953Z');
INSERT INTO "metrics" VALUES(2,18,17,0.00017,85,0.294118,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.967Z');
INSERT INTO "metrics" VALUES(2,19,18,0.00018,90,0.277778,0.001,1.0,100.0,NULL,'2026-11-24T02:35:43.981Z');
INSERT INTO "metrics" VALUES(2,20,19,0.00019,95,0.263158,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.005Z');
INSERT INTO "metrics" VALUES(2,21,20,0.0002,100,0.25,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.017Z');
INSERT INTO "metrics" VALUES(2,22,21,0.00021,105,0.238095,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.037Z');
INSERT INTO "metrics" VALUES(2,23,22,0.00022,110,0.227273,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.047Z');
INSERT INTO "metrics" VALUES(2,24,23,0.00023,115,0.217391,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.067Z');
INSERT INTO "metrics" VALUES(2,25,24,0.00024,120,0.208333,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.078Z');
INSERT INTO "metrics" VALUES(2,26,25,0.00025,125,0.2,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.099Z');
INSERT INTO "metrics" VALUES(2,27,26,0.00026,130,0.192308,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.110Z');
INSERT INTO "metrics" VALUES(2,28,27,0.00027,135,0.185185,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.129Z');
INSERT INTO "metrics" VALUES(2,29,28,0.00028,140,0.178571,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.139Z');
INSERT INTO "metrics" VALUES(2,30,29,0.00029,145,0.172414,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.157Z');
INSERT INTO "metrics" VALUES(2,31,30,0.0003,150,0.166667,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.167Z');
INSERT INTO "metrics" VALUES(2,32,31,0.00031,155,0.16129,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.185Z');
INSERT INTO "metrics" VALUES(2,33,32,0.00032,160,0.15625,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.197Z');
INSERT INTO "metrics" VALUES(2,34,33,0.00033,165,0.151515,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.217Z');
INSERT INTO "metrics" VALUES(2,35,34,0.00034,170,0.147059,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.227Z');
INSERT INTO "metrics" VALUES(2,36,35,0.00035,175,0.142857,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.240Z');
INSERT INTO "metrics" VALUES(2,37,36,0.00036,180,0.138889,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.251Z');
INSERT INTO "metrics" VALUES(2,38,37,0.00037,185,0.135135,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.274Z');
INSERT INTO "metrics" VALUES(2,39,38,0.00038,190,0.131579,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.285Z');
INSERT INTO "metrics" VALUES(2,40,39,0.00039,195,0.128205,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.301Z');
INSERT INTO "metrics" VALUES(2,41,40,0.0004,200,0.125,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.311Z');
INSERT INTO "metrics" VALUES(2,42,41,0.00041,205,0.121951,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.323Z');
INSERT INTO "metrics" VALUES(2,43,42,0.00042,210,0.119048,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.333Z');
INSERT INTO "metrics" VALUES(2,44,43,0.00043,215,0.116279,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.351Z');
INSERT INTO "metrics" VALUES(2,45,44,0.00044,220,0.113636,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.361Z');
INSERT INTO "metrics" VALUES(2,46,45,0.00045,225,0.111111,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.377Z');
INSERT INTO "metrics" VALUES(2,47,46,0.00046,230,0.108696,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.387Z');
INSERT INTO "metrics" VALUES(2,48,47,0.00047,235,0.106383,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.407Z');
INSERT INTO "metrics" VALUES(2,49,48,0.00048,240,0.104167,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.419Z');
INSERT INTO "metrics" VALUES(2,50,49,0.00049,245,0.102041,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.435Z');
INSERT INTO "metrics" VALUES(2,51,50,0.0005,250,0.1,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.449Z');
INSERT INTO "metrics" VALUES(2,52,51,0.00051,255,0.098039,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.464Z');
INSERT INTO "metrics" VALUES(2,53,52,0.00052,260,0.096154,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.475Z');
INSERT INTO "metrics" VALUES(2,54,53,0.00053,265,0.09434,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.487Z');
INSERT INTO "metrics" VALUES(2,55,54,0.00054,270,0.092593,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.497Z');
INSERT INTO "metrics" VALUES(2,56,55,0.00055,275,0.090909,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.515Z');
INSERT INTO "metrics" VALUES(2,57,56,0.00056,280,0.089286,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.528Z');
INSERT INTO "metrics" VALUES(2,58,57,0.00057,285,0.087719,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.544Z');
INSERT INTO "metrics" VALUES(2,59,58,0.00058,290,0.086207,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.555Z');
INSERT INTO "metrics" VALUES(2,60,59,0.00059,295,0.084746,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.581Z');
INSERT INTO "metrics" VALUES(2,61,60,0.0006,300,0.083333,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.591Z');
INSERT INTO "metrics" VALUES(2,62,61,0.00061,305,0.081967,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.609Z');
INSERT INTO "metrics" VALUES(2,63,62,0.00062,310,0.080645,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.619Z');
INSERT INTO "metrics" VALUES(2,64,63,0.00063,315,0.079365,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.637Z');
INSERT INTO "metrics" VALUES(2,65,64,0.00064,320,0.078125,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.647Z');
INSERT INTO "metrics" VALUES(2,66,65,0.00065,325,0.076923,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.658Z');
INSERT INTO "metrics" VALUES(2,67,66,0.00066,330,0.075758,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.668Z');
INSERT INTO "metrics" VALUES(2,68,67,0.00067,335,0.074627,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.687Z');
INSERT INTO "metrics" VALUES(2,69,68,0.00068,340,0.073529,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.697Z');
INSERT INTO "metrics" VALUES(2,70,69,0.00069,345,0.072464,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.712Z');
INSERT INTO "metrics" VALUES(2,71,70,0.0007,350,0.071429,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.723Z');
INSERT INTO "metrics" VALUES(2,72,71,0.00071,355,0.070423,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.735Z');
INSERT INTO "metrics" VALUES(2,73,72,0.00072,360,0.069444,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.752Z');
INSERT INTO "metrics" VALUES(2,74,73,0.00073,365,0.068493,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.767Z');
INSERT INTO "metrics" VALUES(2,75,74,0.00074,370,0.067568,0.001,1.0,100.0,NULL,'2026-11-24T02:35:44.781Z');
INSERT INTO "metrics" VALUES(4,1,0,0.0,0,NULL,NULL,NULL,NULL,'{"val_loss":5.0}','2026-11-24T02:35:45.096Z');
INSERT INTO "metrics" VALUES(4,2,1,0.25,5,5.0,0.001,1.0,100.0,NULL,'2026-11-24T02:35:45.112Z');
INSERT INTO "metrics" VALUES(4,3,2,0.5,10,2.5,0.001,1.0,100.0,NULL,'2026-11-24T02:35:45.123Z');
INSERT INTO "metrics" VALUES(4,4,3,0.75,15,1.666667,0.001,1.0,100.0,NULL,'2026-11-24T02:35:45.140Z');
INSERT INTO "metrics" VALUES(4,5,4,1.0,20,1.25,0.001,1.0,100.0,NULL,'2026-11-24T02:35:45.150Z');
INSERT INTO "metrics" VALUES(4,6,4,1.0,20,NULL,NULL,NULL,NULL,'{"val_loss":1.5,"val_accuracy":0.5}','2026-11-24T02:35:45.150Z');
CREATE TABLE models (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL,
    format TEXT NOT NULL,
    quantisation TEXT,
    parameters INTEGER NOT NULL,
    context INTEGER NOT NULL,
    vocab INTEGER NOT NULL,
    tasks TEXT NOT NULL,
    source TEXT,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    chat_template INTEGER NOT NULL,
    entry TEXT NOT NULL,    -- below STATE/models/<name>/: a file, or "" for the folder itself
    files TEXT NOT NULL,    -- [{"name","size","mtime","inode"}]: a linked file that was changed in place is noticed
    created_at TEXT NOT NULL
) STRICT;
INSERT INTO "models" VALUES(1,'base','fake','gguf',NULL,7,64,256,'["generation"]',NULL,'1eec943f3fbf69947176e7c711415ad88a08184169f72cd31dca0ab071e14939',10,0,'model.gguf','[{"inode":2156482,"mtime":1795487743,"name":"model.gguf","size":10}]','2026-11-24T02:35:43.305Z');
CREATE TABLE notices (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, -- the same at every attempt
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    type TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,      -- of the url: one delivery a host at a time
    body TEXT NOT NULL,      -- as it is sent and signed
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL  -- of the next attempt
) STRICT;
INSERT INTO "notices" VALUES(1,'evt_aaaaaaaaaaaaaaaa',1,'job.succeeded','http://hooks.example/x','hooks.example','{"id":"evt_aaaaaaaaaaaaaaaa"}','waiting',0,1,1);
CREATE TABLE shares (owner TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
INSERT INTO "shares" VALUES('',3);
CREATE TABLE sweep_events (
    sweep INTEGER NOT NULL REFERENCES sweeps (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (sweep, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "sweep_events" VALUES(1,1,'2026-11-27T19:00:00.000Z','queued','{}');
INSERT INTO "sweep_events" VALUES(1,2,'2026-11-27T19:00:00.000Z','succeeded','{}');
CREATE TABLE sweeps (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,    -- as in jobs; with what follows, on whose behalf trials are submitted
    scope TEXT NOT NULL,
    sees_all INTEGER NOT NULL,
    team TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    reason_code TEXT,
    reason_message TEXT,
    request TEXT NOT NULL,  -- as sent
    plan TEXT NOT NULL,     -- what it was resolved to: axes, rungs, metric, trials, costs
    result TEXT NOT NULL DEFAULT 'null',
    next_seq INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
) STRICT;
INSERT INTO "sweeps" VALUES(1,'swp_aaaaaaaaaaaaaaaa','kept','','admin',1,'','random','succeeded',NULL,NULL,'{}','{"kind":"random","job":{"model":"base","dataset":"ds_h6skp74kzjuws5id"},"metric":"val_loss","smaller":true,"trials":1,"parallel":1,"seed":0,"seeds":1,"keep":"best","target":null,"scheduler":"none","axes":[],"rungs":[],"steps":3.0,"seconds":5.0,"estimate":{"steps":3.0,"seconds":5.0},"budget":null,"warnings":[]}','null',3,'2026-11-27T19:00:00.000Z',NULL,'2026-11-27T19:00:09.000Z');
CREATE TABLE trials (
    sweep INTEGER NOT NULL REFERENCES sweeps (n) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,     -- what it is for: auto, trial, seed, fold, …
    settings TEXT NOT NULL, -- what it changes in the job's request
    point TEXT NOT NULL,    -- the same as numbers, one an axis; null where the axis does not apply
    rungs TEXT NOT NULL,    -- steps at which it pauses
    job TEXT,               -- id; NULL: it could not be planned, and `why` says why
    why TEXT,
    PRIMARY KEY (sweep, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "trials" VALUES(1,0,'auto','{}','[]','[]','job_pf7zcnumyl7hqr5f',NULL);
CREATE INDEX jobs_by_status ON jobs (status, n);
CREATE INDEX jobs_by_dataset ON jobs (dataset);
CREATE INDEX jobs_by_verified ON jobs (verifies) WHERE verifies IS NOT NULL;
CREATE INDEX metrics_evaluated ON metrics (job, seq) WHERE val IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (priority DESC, n) WHERE status = 'queued';
CREATE INDEX datasets_by_file ON datasets (sha256);
CREATE INDEX jobs_by_owner ON jobs (owner, status);
CREATE INDEX sweeps_by_status ON sweeps (status, n);
CREATE INDEX jobs_by_sweep ON jobs (sweep) WHERE sweep IS NOT NULL;
CREATE INDEX jobs_by_finished ON jobs (finished_at);
CREATE INDEX jobs_by_metric ON jobs (json_extract(best, '$.value'));
CREATE INDEX jobs_by_duration ON jobs (julianday(finished_at) - julianday(started_at));
CREATE INDEX notices_waiting ON notices (due_ms) WHERE state='waiting';
CREATE INDEX notices_by_job ON notices (job);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('models',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',4);
INSERT INTO "sqlite_sequence" VALUES('datasets',5);
INSERT INTO "sqlite_sequence" VALUES('sweeps',1);
INSERT INTO "sqlite_sequence" VALUES('notices',1);
COMMIT;
PRAGMA user_version=13;
