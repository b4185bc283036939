from django.db import migrations, models

# Django adds these to every text key, for searches by how it begins. Nothing searches so, and each wake writes to them.
_PREFIXES = (
    ("instance_status", "id", "instance_status_id_c706e2c0_like"),
    ("hibernation_schedule", "instance_id", "hibernation_schedule_instance_id_80f18c84_like"),
)


class Migration(migrations.Migration):
    dependencies = [("hibernation", "0007_fewer_indexes")]
    operations = [
        # The unique one of an occurrence serves.
        migrations.RemoveIndex(model_name="schedulerun", name="schedule_run_of_instance"),
        *(
            migrations.RunSQL(
                f"DROP INDEX IF EXISTS {name}", f"CREATE INDEX {name} ON {table} ({column} varchar_pattern_ops)"
            )
            for table, column, name in _PREFIXES
        ),
        # The present visit stands in the operation's own row; it is kept when it is over.
        migrations.RemoveConstraint(model_name="operationstep", name="one_open_step_per_operation"),
        migrations.RunSQL(
            "DELETE FROM hibernation_operationstep WHERE finished_at IS NULL",
            "INSERT INTO hibernation_operationstep (operation_id, step, entered_at, waits, failures) "
            "SELECT id, step, entered_at, waits, failures FROM hibernation_operation WHERE state = 'running'; "
            "SET CONSTRAINTS ALL IMMEDIATE",
        ),
        migrations.AlterField(model_name="operationstep", name="finished_at", field=models.DateTimeField()),
    ]
