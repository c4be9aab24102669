"""The dealing of a claim's workers among the jobs that it has won: a function that the claim calls."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # For each job its seat, both counted from 1: `deal` of `policy/dealing.py`, which says why. A seat that is taken
    # has no shape and no adapters any more, so that nobody looks at it again.
    op.execute("""
        CREATE FUNCTION cogmill_deal(shapes text[], wanted text[], warm_shapes text[], warm_adapters jsonb[])
        RETURNS int[] LANGUAGE plpgsql IMMUTABLE AS $$
        DECLARE
            jobs int := coalesce(cardinality(shapes), 0);
            seats int := coalesce(cardinality(warm_shapes), 0);
            seat_of int[] := array_fill(NULL::int, ARRAY[jobs]);
            taken boolean[] := array_fill(false, ARRAY[seats]);
            loads boolean := array_remove(wanted, NULL) <> '{}';
            seat int;
        BEGIN
            FOR turn IN 1..4 LOOP
                CONTINUE WHEN turn < 3 AND NOT loads;
                FOR job IN 1..jobs LOOP
                    CONTINUE WHEN seat_of[job] IS NOT NULL OR (turn < 3 AND wanted[job] IS NULL);
                    seat := NULL;
                    IF turn = 3 THEN
                        seat := array_position(warm_shapes, shapes[job]);
                    ELSIF turn = 4 THEN
                        seat := array_position(taken, false);
                    ELSE
                        FOR s IN 1..seats LOOP
                            IF warm_adapters[s] ? wanted[job] AND (turn = 2 OR warm_shapes[s] = shapes[job]) THEN
                                seat := s;
                                EXIT;
                            END IF;
                        END LOOP;
                    END IF;
                    IF seat IS NOT NULL THEN
                        seat_of[job] := seat;
                        taken[seat] := true;
                        warm_shapes[seat] := NULL;
                        warm_adapters[seat] := NULL;
                    END IF;
                END LOOP;
            END LOOP;
            RETURN seat_of;
        END $$
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION cogmill_deal(text[], text[], text[], jsonb[])")
