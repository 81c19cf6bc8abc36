"""Every table of the product, and where its migrations are."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from domain.audit_logs.tables import AuditKeys, AuditLogs, AuditNodes, AuditPolicies, AuditSeals
from domain.auth.tables import (
    ApiKeys,
    MfaFactors,
    OauthIdentities,
    OneTimeTokens,
    Passkeys,
    RecoveryCodes,
    SignInFailures,
    UserSessions,
)
from domain.idempotency_tables import IdempotencyKeys
from domain.inventory.tables import Inventory, StockMovements
from domain.stream_tables import StreamEntries, StreamHeads
from domain.teams.tables import TeamInvites, TeamMembers, TeamRoles, Teams, TeamTransfers
from domain.users.tables import UserProfiles, Users

APP_CONFIG = AppConfig(
    app_name="maycole",
    migrations_folder_path=str(Path(__file__).resolve().parent.parent / "migrations"),
    table_classes=[
        StreamHeads,
        StreamEntries,
        AuditLogs,
        AuditKeys,
        AuditSeals,
        AuditNodes,
        AuditPolicies,
        Users,
        UserProfiles,
        UserSessions,
        OneTimeTokens,
        OauthIdentities,
        MfaFactors,
        RecoveryCodes,
        Passkeys,
        ApiKeys,
        SignInFailures,
        Teams,
        TeamRoles,
        TeamMembers,
        TeamInvites,
        TeamTransfers,
        Inventory,
        StockMovements,
        IdempotencyKeys,
    ],
)
