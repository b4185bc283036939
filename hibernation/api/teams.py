"""The API of a team's people: who is in it and as what; its owners let in, change and let go."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from hibernation.api.replies import actor_of
from hibernation.api.serializers import KnownFieldsSerializer
from hibernation.domain.access import ROLES, Need, Role
from hibernation.models import Membership
from hibernation.services.teams import add_member, change_role, members_of, remove_member


class MemberSerializer(serializers.Serializer[Membership]):
    user = serializers.CharField(source="user.get_username")
    role = serializers.ChoiceField(ROLES)


class MembersSerializer(serializers.Serializer[Any]):
    members = MemberSerializer(many=True)


class NewMemberSerializer(KnownFieldsSerializer):
    user = serializers.CharField(max_length=150, help_text="the name of somebody who can log in here")
    role = serializers.ChoiceField(ROLES)


class RoleSerializer(KnownFieldsSerializer):
    role = serializers.ChoiceField(ROLES)


class MembersView(APIView):
    needs = {"GET": Need.READ, "POST": Need.ADMIN}
    wishes = {"POST": NewMemberSerializer}

    @extend_schema(operation_id="teams_members_list", responses=MembersSerializer)
    def get(self, request: Request, team_id: str) -> Response:
        """Everybody in it, by the time they joined."""
        return Response(MembersSerializer({"members": members_of(int(team_id))}).data)

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    def post(self, request: Request, team_id: str) -> Response:
        """Let a user in."""
        wish = NewMemberSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        user, role = wish.validated_data["user"], Role(wish.validated_data["role"])
        row = add_member(int(team_id), user, role, actor=actor_of(request))
        return Response(MemberSerializer(row).data, status=201)


class MemberView(APIView):
    needs = {"PATCH": Need.ADMIN, "DELETE": Need.ADMIN}
    wishes = {"PATCH": RoleSerializer}

    @extend_schema(request=RoleSerializer, responses=MemberSerializer)
    def patch(self, request: Request, team_id: str, username: str) -> Response:
        """Give him another role. 409 for the last owner."""
        wish = RoleSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        role = Role(wish.validated_data["role"])
        return Response(
            MemberSerializer(change_role(int(team_id), username, role, actor=actor_of(request))).data
        )

    @extend_schema(request=None, responses={200: MembersSerializer})
    def delete(self, request: Request, team_id: str, username: str) -> Response:
        """Let him go; his tokens see nothing of it from now on. 409 for the last owner. Answers who is left."""
        remove_member(int(team_id), username, actor=actor_of(request))
        return Response(MembersSerializer({"members": members_of(int(team_id))}).data)
