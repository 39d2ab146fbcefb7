"""Accounts, limits of keys, measurements

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-24 23:47:54.139353

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('discards',
    sa.Column('path', sa.String(length=160), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('path')
    )
    op.create_table('logins',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('user_id', sa.Integer(), nullable=False),
    sa.Column('refresh_id', sa.String(length=36), nullable=False),
    sa.Column('previous_id', sa.String(length=36), nullable=True),
    sa.Column('refreshed_at', sa.DateTime(), nullable=True),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('expires_at', sa.DateTime(), nullable=False),
    sa.Column('revoked_at', sa.DateTime(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('logins', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_logins_expires_at'), ['expires_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_logins_user_id'), ['user_id'], unique=False)

    op.create_table('samples',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('session_id', sa.String(length=36), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.Column('bitrate_kbps', sa.Integer(), nullable=False),
    sa.Column('viewers', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('samples', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_samples_at'), ['at'], unique=False)
        batch_op.create_index(batch_op.f('ix_samples_session_id'), ['session_id'], unique=False)

    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('ending', sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column('bitrate_kbps', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('bytes_received', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('width', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('height', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('frame_rate', sa.Double(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('video_codec', sa.String(length=32), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('audio_codec', sa.String(length=32), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('viewers', sa.Integer(), nullable=False, server_default='0'))
        batch_op.add_column(sa.Column('peak_viewers', sa.Integer(), nullable=False, server_default='0'))
        batch_op.create_index(batch_op.f('ix_sessions_started_at'), ['started_at'], unique=False)

    with op.batch_alter_table('stream_keys', schema=None) as batch_op:
        batch_op.add_column(sa.Column('owner_id', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('rotated_at', sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column('expires_at', sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column('held_until', sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column('sources', sa.JSON(), nullable=False, server_default='[]'))
        batch_op.add_column(sa.Column('max_bitrate_kbps', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('max_height', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('max_minutes', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('visibility', sa.String(length=16), nullable=False, server_default='public'))
        batch_op.add_column(sa.Column('viewing_salt', sa.String(length=32), nullable=False, server_default=sa.text("(lower(hex(randomblob(16))))")))
        batch_op.add_column(sa.Column('record', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.create_index(batch_op.f('ix_stream_keys_owner_id'), ['owner_id'], unique=False)
        batch_op.create_foreign_key('fk_stream_keys_owner_id_users', 'users', ['owner_id'], ['id'])

    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.add_column(sa.Column('deployed_hash', sa.String(), nullable=True))
        batch_op.add_column(sa.Column('disabled_at', sa.DateTime(), nullable=True))




def downgrade():
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.drop_column('disabled_at')
        batch_op.drop_column('deployed_hash')

    with op.batch_alter_table('stream_keys', schema=None) as batch_op:
        batch_op.drop_constraint('fk_stream_keys_owner_id_users', type_='foreignkey')
        batch_op.drop_index(batch_op.f('ix_stream_keys_owner_id'))
        batch_op.drop_column('record')
        batch_op.drop_column('viewing_salt')
        batch_op.drop_column('visibility')
        batch_op.drop_column('max_minutes')
        batch_op.drop_column('max_height')
        batch_op.drop_column('max_bitrate_kbps')
        batch_op.drop_column('sources')
        batch_op.drop_column('held_until')
        batch_op.drop_column('expires_at')
        batch_op.drop_column('rotated_at')
        batch_op.drop_column('owner_id')

    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_sessions_started_at'))
        batch_op.drop_column('peak_viewers')
        batch_op.drop_column('viewers')
        batch_op.drop_column('audio_codec')
        batch_op.drop_column('video_codec')
        batch_op.drop_column('frame_rate')
        batch_op.drop_column('height')
        batch_op.drop_column('width')
        batch_op.drop_column('bytes_received')
        batch_op.drop_column('bitrate_kbps')
        batch_op.drop_column('ending')

    with op.batch_alter_table('samples', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_samples_session_id'))
        batch_op.drop_index(batch_op.f('ix_samples_at'))

    op.drop_table('samples')
    with op.batch_alter_table('logins', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_logins_user_id'))
        batch_op.drop_index(batch_op.f('ix_logins_expires_at'))

    op.drop_table('logins')
    op.drop_table('discards')
