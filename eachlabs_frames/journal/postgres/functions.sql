-- The functions that read, claim and settle rows of a run; `migrations` makes them with the tables, and fills in the names in
-- braces. They carry their planner settings with them: a plan that was made while the tables were empty would keep
-- reading all of a table, and a pooler may refuse settings of a connection.

CREATE FUNCTION {schema}.find_rows(_run int, _digests bytea[]) RETURNS SETOF {schema}.rows
LANGUAGE plpgsql STABLE{planned}
AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM rows r WHERE r.run = _run AND r.digest = ANY (_digests) ORDER BY r.number;
END $$;

CREATE FUNCTION {schema}.read_rows(_run int, _numbers int[]) RETURNS SETOF {schema}.rows
LANGUAGE plpgsql STABLE{planned}
AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM rows r WHERE r.run = _run AND r.number = ANY (_numbers) ORDER BY r.number;
END $$;

-- Adds rows to a run, and returns the number of the first. -1: another call has added one of them; -2: the run has
-- another pin by now; -3: it was deleted.
CREATE FUNCTION {schema}.add_rows(
    _run int, _pin text, _digests bytea[], _occurrences int[], _contents bytea[],
    _sheet_digests bytea, _sheet_contents bytea, _labels bytea, _inputs bytea
) RETURNS int LANGUAGE plpgsql{planned}
AS $$
DECLARE
    _first int;
    _stored text;
    _added int := cardinality(_digests);
BEGIN
    SELECT r.size, r.pin INTO _first, _stored FROM runs r WHERE r.id = _run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN -3;
    END IF;
    IF _stored <> _pin THEN
        RETURN -2;
    END IF;
    IF EXISTS (
        SELECT 1 FROM unnest(_digests, _occurrences) AS w (digest, occurrence)
        JOIN rows r ON r.run = _run AND r.digest = w.digest AND r.occurrence = w.occurrence
    ) THEN
        RETURN -1;
    END IF;
    UPDATE runs r SET size = r.size + _added WHERE r.id = _run;
    INSERT INTO rows (run, number, digest, occurrence, content)
    SELECT _run, _first + w.place::int - 1, w.digest, w.occurrence, w.content
    FROM unnest(_digests, _occurrences, _contents) WITH ORDINALITY AS w (digest, occurrence, content, place);
    INSERT INTO sheets (run, first, size, digests, contents, labels, inputs)
    VALUES (_run, _first, _added, _sheet_digests, _sheet_contents, _labels, _inputs);
    RETURN _first;
END $$;

-- Removes the rows that a session has added from `_first` on, unless another session has added rows or is running in
-- the run, or one of them was claimed; returns whether they are removed.
CREATE FUNCTION {schema}.remove_rows(_run int, _session int, _first int, _added int)
RETURNS boolean LANGUAGE plpgsql{planned}
AS $$
BEGIN
    PERFORM 1 FROM runs r WHERE r.id = _run AND r.size = _first + _added FOR NO KEY UPDATE;
    IF NOT FOUND OR EXISTS (
        SELECT 1 FROM sessions s
        WHERE s.run = _run AND s.id <> _session AND s.ended_at IS NULL AND s.expires_at > now_ns()
    ) THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM rows r WHERE r.run = _run AND r.number >= _first ORDER BY r.number FOR UPDATE;
    IF EXISTS (SELECT 1 FROM rows r WHERE r.run = _run AND r.number >= _first AND (r.claim <> 0 OR r.answer <> 0)) THEN
        RETURN false;
    END IF;
    DELETE FROM rows r WHERE r.run = _run AND r.number >= _first;
    DELETE FROM sheets s WHERE s.run = _run AND s.first >= _first;
    UPDATE runs r SET size = _first WHERE r.id = _run;
    RETURN true;
END $$;

-- A row's number as `journal.records.pack_rows` encodes it.
CREATE FUNCTION {schema}.pack_row(_number int) RETURNS bytea LANGUAGE sql IMMUTABLE
AS $$
    SELECT set_byte(set_byte(set_byte(set_byte('\x00000000'::bytea,
        0, _number & 255), 1, (_number >> 8) & 255), 2, (_number >> 16) & 255), 3, (_number >> 24) & 255)
$$;

-- Grants claims by compare and swap: of rows that were not sent, that this session wrote about last, or that are as it
-- has seen them. With `_known`, which has a claim for each row, a digest is that of a key: it is not granted if another
-- row with this key has been claimed after that. Returns the record of each request, NULL if none of its rows is
-- granted. The rows are locked, and those with the same keys.
CREATE FUNCTION {schema}.claim(
    _run int, _session int, _requests int[], _numbers int[], _claims bigint[], _answers bigint[], _known bigint[],
    _packed bytea[]
) RETURNS bigint[] LANGUAGE plpgsql{planned}
AS $$
DECLARE
    _granted int[];
    _granted_requests int[];
    _ids bigint[];
BEGIN
    SELECT array_agg(w.number ORDER BY w.place), array_agg(w.request ORDER BY w.place)
    INTO _granted, _granted_requests
    FROM unnest(_requests, _numbers, _claims, _answers, _known)
        WITH ORDINALITY AS w (request, number, claim, answer, known, place)
    JOIN rows r ON r.run = _run AND r.number = w.number
    WHERE (r.state IN ('n', 'i') OR r.session = _session OR (r.claim = w.claim AND r.answer = w.answer))
    AND (w.known IS NULL OR NOT EXISTS (
        SELECT 1 FROM rows o WHERE o.run = _run AND o.digest = r.digest AND o.number <> r.number
        AND o.state NOT IN ('n', 'i') AND o.claim > w.known
    ));
    SELECT array_agg(i.id ORDER BY i.request) INTO _ids
    FROM (
        SELECT q.request, CASE WHEN q.request = ANY (_granted_requests) THEN nextval('record_ids') END AS id
        FROM generate_series(1, cardinality(_packed)) AS q (request)
    ) AS i;
    INSERT INTO records (id, run, session, kind, rows)
    SELECT _ids[g.request], _run, _session, 0,
        CASE WHEN length(_packed[g.request]) = 4 * count(*) THEN _packed[g.request]
        ELSE string_agg(pack_row(g.number), ''::bytea ORDER BY g.place) END
    FROM unnest(_granted_requests, _granted) WITH ORDINALITY AS g (request, number, place)
    GROUP BY g.request;
    UPDATE rows r SET state = 's', session = _session, claim = _ids[g.request],
        answer = CASE WHEN r.state = 'i' THEN 0 ELSE r.answer END
    FROM unnest(_granted_requests, _granted) AS g (request, number)
    WHERE r.run = _run AND r.number = g.number;
    RETURN _ids;
END $$;

-- Appends records, and points their rows to them. `_classes` has one for each record: e: executions; u: no execution,
-- for one row; p: released, nothing was created; i: refused here; l: update; c: correction. Each row is in one of them
-- at most. An execution counts but for a row that has one by now and was not claimed by `_expected`; a record of class
-- u is written only if the row's claim is the expected one. The rows are locked.
CREATE FUNCTION {schema}.settle(
    _run int, _session int, _kinds int[], _classes text[], _packed bytea[], _bodies bytea[],
    _places int[], _numbers int[], _hashes bigint[], _expected bigint[]
) RETURNS void LANGUAGE plpgsql{planned}
AS $$
DECLARE
    _ids bigint[];
BEGIN
    SELECT array_agg(i.id ORDER BY i.place) INTO _ids
    FROM (
        SELECT o.place, CASE WHEN o.class <> 'u' OR EXISTS (
            SELECT 1 FROM unnest(_places, _numbers, _expected) AS w (place, number, claim)
            JOIN rows r ON r.run = _run AND r.number = w.number
            WHERE w.place = o.place AND r.claim = w.claim AND NOT (r.state = 'd' AND r.accepted)
        ) THEN nextval('record_ids') END AS id
        FROM unnest(_classes) WITH ORDINALITY AS o (class, place)
    ) AS i;
    INSERT INTO records (id, run, session, kind, rows, body)
    SELECT _ids[o.place], _run, _session, o.kind, o.packed, o.body
    FROM unnest(_kinds, _packed, _bodies) WITH ORDINALITY AS o (kind, packed, body, place)
    WHERE _ids[o.place] IS NOT NULL;
    UPDATE rows r SET
        state = (CASE _classes[w.place]
            WHEN 'p' THEN CASE WHEN r.answer = 0 THEN 'n' ELSE 'd' END
            WHEN 'i' THEN 'i'
            WHEN 'l' THEN r.state::text
            ELSE 'd' END)::"char",
        answer = CASE WHEN _classes[w.place] IN ('p', 'l') THEN r.answer ELSE _ids[w.place] END,
        look = CASE _classes[w.place] WHEN 'l' THEN _ids[w.place] WHEN 'p' THEN r.look ELSE 0 END,
        accepted = CASE WHEN _classes[w.place] IN ('p', 'l') THEN r.accepted ELSE w.hash <> 0 END,
        session = CASE _classes[w.place] WHEN 'l' THEN r.session ELSE _session END
    FROM unnest(_places, _numbers, _hashes, _expected) AS w (place, number, hash, claim)
    WHERE r.run = _run AND r.number = w.number AND _ids[w.place] IS NOT NULL AND CASE _classes[w.place]
        WHEN 'p' THEN r.state = 's' AND r.session = _session
        WHEN 'i' THEN r.state IN ('n', 'i')
        WHEN 'e' THEN NOT (r.state = 'd' AND r.accepted AND r.claim <> w.claim)
        ELSE true END;
    INSERT INTO executions (hash, run)
    SELECT w.hash, _run FROM unnest(_places, _hashes) AS w (place, hash)
    WHERE w.hash <> 0 AND _classes[w.place] IN ('e', 'c') ORDER BY w.hash
    ON CONFLICT DO NOTHING;
END $$;

-- Writes a group of records and claims of a session: see `settle` and `claim`. `_number` counts the session's writes:
-- if this one was done before, it returns what it returned then. `_adopt`: all or none of the executions, and none if a
-- row of any run has one of them, or if one of the rows has an execution. Returns the server's time, the record of each
-- claimed request, and the rows that were not granted.
CREATE FUNCTION {schema}.write(
    _run int, _session int, _number bigint, _lifetime bigint, _adopt boolean,
    _kinds int[], _classes text[], _packed bytea[], _bodies bytea[],
    _places int[], _numbers int[], _hashes bigint[], _expected bigint[],
    _requests int[], _claimed int[], _claims bigint[], _answers bigint[], _known bigint[], _packed_claims bytea[],
    OUT at bigint, OUT claims bigint[], OUT denied int[]
) LANGUAGE plpgsql{planned}
AS $$
DECLARE
    _done bigint;
    _locked int[] := _numbers || _claimed;
BEGIN
    at := now_ns();
    claims := ARRAY[]::bigint[];
    denied := ARRAY[]::int[];
    UPDATE sessions s SET writes = _number, expires_at = at + _lifetime, claims = NULL, denied = NULL
    WHERE s.id = _session AND s.writes = _number - 1;
    IF NOT FOUND THEN
        SELECT s.writes, s.claims, s.denied INTO _done, claims, denied FROM sessions s WHERE s.id = _session;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the run was deleted' USING ERRCODE = 'EF001';
        ELSIF _done <> _number THEN
            RAISE EXCEPTION 'write % of session % follows write %', _number, _session, _done;
        END IF;
        claims := coalesce(claims, ARRAY[]::bigint[]);
        denied := coalesce(denied, ARRAY[]::int[]);
        RETURN;
    END IF;
    IF cardinality(_known) > 0 THEN
        SELECT _locked || coalesce(array_agg(o.number), ARRAY[]::int[]) INTO _locked
        FROM unnest(_claimed) AS w (number)
        JOIN rows r ON r.run = _run AND r.number = w.number
        JOIN rows o ON o.run = _run AND o.digest = r.digest;
    END IF;
    PERFORM 1 FROM rows r WHERE r.run = _run AND r.number = ANY (_locked) ORDER BY r.number FOR UPDATE;
    IF _adopt THEN
        -- Two sessions may insert the same execution at once: the second waits for the first, and finds it.
        INSERT INTO executions (hash, run) SELECT h, _run FROM unnest(_hashes) AS h ORDER BY h ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS _done = ROW_COUNT;
        IF _done < cardinality(_hashes) OR EXISTS (
            SELECT 1 FROM rows r WHERE r.run = _run AND r.number = ANY (_numbers) AND r.state = 'd' AND r.accepted
        ) THEN
            RAISE EXCEPTION 'adopted by another call' USING ERRCODE = 'EF002';
        END IF;
    END IF;
    IF cardinality(_kinds) > 0 THEN
        PERFORM settle(_run, _session, _kinds, _classes, _packed, _bodies, _places, _numbers, _hashes, _expected);
    END IF;
    IF cardinality(_claimed) > 0 THEN
        claims := claim(_run, _session, _requests, _claimed, _claims, _answers, _known, _packed_claims);
        SELECT coalesce(array_agg(w.number), ARRAY[]::int[]) INTO denied
        FROM unnest(_requests, _claimed) AS w (request, number)
        WHERE NOT EXISTS (
            SELECT 1 FROM rows r WHERE r.run = _run AND r.number = w.number AND r.claim = (write.claims)[w.request]
        );
        UPDATE sessions s SET claims = write.claims, denied = write.denied WHERE s.id = _session;
    END IF;
END $$;
