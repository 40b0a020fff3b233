-- groups.sql: segments of people whom somebody names, and segments that exclude each other.

CREATE TABLE cdp.segment_list (
    segment_id bigint NOT NULL,
    type       text NOT NULL,
    value      text COLLATE "C" NOT NULL,
    PRIMARY KEY (value, type, segment_id)
);
CREATE INDEX segment_list_segment_id ON cdp.segment_list (segment_id);
COMMENT ON TABLE cdp.segment_list IS
    'The identifiers that cdp.import_segment was given, normalised, those that nobody has yet too. Whoever has one is in that segment.';

-- A view, so that segments of those who may not see identifiers can ask who is on a list.
CREATE VIEW cdp.listed_identifier AS
    SELECT l.segment_id, i.identifier_id, i.profile_id
    FROM cdp.segment_list l JOIN cdp.identifier i ON i.value = l.value AND i.type = l.type;
COMMENT ON VIEW cdp.listed_identifier IS 'The identifiers that are on the list of an imported segment and that somebody has, and who.';

CREATE TABLE cdp.priority_list (
    list    text NOT NULL,
    place   int NOT NULL,
    segment text NOT NULL,
    PRIMARY KEY (list, place)
);
COMMENT ON TABLE cdp.priority_list IS
    'The priority lists and their segments, the first first. For each there is a segment named <list>_<segment>: who is in it and in none before it.';

SELECT pg_extension_config_dump('cdp.segment_list', '');
SELECT pg_extension_config_dump('cdp.priority_list', '');
