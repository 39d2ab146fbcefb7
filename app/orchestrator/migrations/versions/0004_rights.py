"""Who set a limit, a revocation or a hold; how long a sample stands for

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-27 08:00:00

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('stream_keys', schema=None) as batch_op:
        batch_op.add_column(sa.Column('set_by_admin', sa.JSON(), nullable=False, server_default='{}'))
        batch_op.add_column(sa.Column('revoked_by', sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column('held_by', sa.String(length=64), nullable=True))

    with op.batch_alter_table('samples', schema=None) as batch_op:
        batch_op.add_column(sa.Column('seconds', sa.Integer(), nullable=False, server_default='10'))
        batch_op.create_index('ix_samples_session_id_at', ['session_id', 'at'], unique=False)
        batch_op.drop_index(batch_op.f('ix_samples_session_id'))
        batch_op.drop_index(batch_op.f('ix_samples_at'))


def downgrade():
    with op.batch_alter_table('samples', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_samples_at'), ['at'], unique=False)
        batch_op.create_index(batch_op.f('ix_samples_session_id'), ['session_id'], unique=False)
        batch_op.drop_index('ix_samples_session_id_at')
        batch_op.drop_column('seconds')

    with op.batch_alter_table('stream_keys', schema=None) as batch_op:
        batch_op.drop_column('held_by')
        batch_op.drop_column('revoked_by')
        batch_op.drop_column('set_by_admin')
