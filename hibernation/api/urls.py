"""The API's addresses, without trailing slashes."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from hibernation.api import (
    boxes,
    enrolments,
    files,
    heartbeat,
    me,
    offers,
    operations,
    schedules,
    schema,
    snapshots,
    store,
    teams,
    tokens,
    views,
)
from hibernation.models.instance import INSTANCE_ID

SCHEDULE = rf"^instances/(?P<instance_id>{INSTANCE_ID})/schedule"
SNAPSHOTS = rf"^instances/(?P<instance_id>{INSTANCE_ID})/snapshots"
SNAPSHOT = rf"{SNAPSHOTS}/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{{0,127}})"
MEMBERS = r"^teams/(?P<team_id>[0-9]{1,18})/members"

router = SimpleRouter(trailing_slash=False)
router.register("instances", views.InstanceViewSet, basename="instance")
router.register("operations", operations.OperationViewSet, basename="operation")

urlpatterns = [
    path("agent/status", heartbeat.agent_status),
    path("agent/snapshots/<str:snapshot>/uploads", boxes.uploads),
    path("agent/snapshots/<str:snapshot>/downloads", boxes.downloads),
    path("store/<path:key>", store.store_object, name="store-object"),
    path("enrolments", enrolments.EnrolmentsView.as_view(), name="enrolments"),
    path("enrolments/claim", enrolments.claim, name="claim"),
    path("enrol.sh", enrolments.script, name="enrol-script"),
    path("me", me.MeView.as_view(), name="me"),
    path("tokens", tokens.TokensView.as_view(), name="tokens"),
    re_path(r"^tokens/(?P<token_id>[0-9]{1,18})$", tokens.TokenView.as_view(), name="token"),
    re_path(rf"{MEMBERS}$", teams.MembersView.as_view(), name="members"),
    re_path(rf"{MEMBERS}/(?P<username>[^/]{{1,150}})$", teams.MemberView.as_view(), name="member"),
    path("offers", offers.OffersView.as_view(), name="offers"),
    path("hibernation/stats", views.StatsView.as_view(), name="stats"),
    re_path(rf"{SNAPSHOTS}$", snapshots.SnapshotsView.as_view(), name="snapshots"),
    re_path(rf"{SNAPSHOT}$", snapshots.SnapshotView.as_view(), name="snapshot"),
    re_path(rf"{SNAPSHOT}/files$", files.FilesView.as_view(), name="snapshot-files"),
    re_path(rf"{SNAPSHOT}/files/content$", files.ContentView.as_view(), name="snapshot-content"),
    re_path(rf"{SCHEDULE}$", schedules.ScheduleView.as_view(), name="schedule"),
    re_path(rf"{SCHEDULE}/preview$", schedules.PreviewView.as_view(), name="schedule-preview"),
    path("schedules.ics", schedules.CalendarView.as_view(), name="schedules-calendar"),
    path("docs", schema.DocsView.as_view(), name="docs"),
    path("schema", schema.SchemaView.as_view(), name="schema"),
    path("", include(router.urls)),
]
