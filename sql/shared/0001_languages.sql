-- Reference data that every tenant reads and none can write.

CREATE TABLE languages (
    code text PRIMARY KEY CHECK (code ~ '^[a-z]{2}$'),
    name text NOT NULL UNIQUE
);

INSERT INTO languages (code, name) VALUES
    ('de', 'Deutsch'), ('en', 'English'), ('es', 'Español'), ('fr', 'Français'), ('nl', 'Nederlands');
