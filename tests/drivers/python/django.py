"""The ORM of Django, which keeps its connection from request to request (CONN_MAX_AGE)."""

import django
from django.conf import settings
from django.db import close_old_connections, connection, models, transaction

from tests.drivers.python import steps

host, port, user, password, database = steps.account()
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": host,
            "PORT": port,
            "USER": user,
            "PASSWORD": password,
            "NAME": database,
            "CONN_MAX_AGE": None,
        }
    }
)
django.setup()


class Parcel(models.Model):  # type: ignore[misc]  # noqa: DJ008 - untyped, and never shown
    n = models.IntegerField(primary_key=True)
    filler = models.CharField(max_length=200)

    class Meta:
        app_label = "drivers"
        db_table = "parcels"


class Entry(models.Model):  # type: ignore[misc]  # noqa: DJ008 - untyped, and never shown
    n = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "drivers"
        db_table = "entries"


with connection.cursor() as cursor:
    cursor.execute("SELECT 6 * 7")
    assert cursor.fetchall() == ((42,),)
steps.done("text")

assert Parcel.objects.get(n=42).n == 42
steps.done("prepared")

assert len(Parcel.objects.all()) == steps.LARGE_ROWS
steps.done("large")

with transaction.atomic():
    Entry.objects.create(n=1)
    transaction.set_rollback(True)
assert Entry.objects.count() == 0
with transaction.atomic():
    Entry.objects.create(n=1)
assert Entry.objects.count() == 1
steps.done("transaction")

with steps.refused():
    Parcel.objects.filter(filler="x" * (2 << 20)).count()
with connection.cursor() as cursor:
    cursor.execute(steps.REMEMBER)
steps.done("oversized")

close_old_connections()  # as at the end of a request
steps.done("idle")
steps.wait()
close_old_connections()  # as at the beginning of the next
with connection.cursor() as cursor:
    cursor.execute(steps.RECALL)
    assert cursor.fetchall() == (("kept",),)
assert Parcel.objects.get(n=43).n == 43
steps.done("survived")
connection.close()
