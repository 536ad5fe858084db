-- Governed columns change only with a Cause of the same transaction (design section 6). xids start again after a restore,
-- hence the time beside it; neither can be chosen by who inserts the row.

create or replace function demarc_stamp_cause() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'what is governed is read as it is now, not as it was when a transaction began'
            using errcode = 'restrict_violation';
    end if;
    new.xid := pg_current_xact_id();
    new.at := transaction_timestamp();
    return new;
end
$$;

create or replace trigger demarc_stamp_cause before insert on segmentation_cause
    for each row execute function demarc_stamp_cause();

create or replace function demarc_require_cause() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from only {schema}.segmentation_cause
                    where xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    return coalesce(new, old);
end
$$;

-- A move names the cause of its own transaction.

create or replace function demarc_stamp_move() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select 1 from only {schema}.segmentation_cause
                    where id = new.cause_id and xid = pg_current_xact_id() and at = transaction_timestamp()) then
        raise exception '%: this change needs a cause in the same transaction', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    new.written_at := transaction_timestamp();
    return new;
end
$$;

create or replace trigger demarc_stamp_move before insert on segmentation_move
    for each row execute function demarc_stamp_move();

{rows: segmentation}{histories}{append_only: segmentation_cause segmentation_move}
